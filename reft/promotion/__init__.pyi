from .audit_log import Entry as Entry
from .audit_log import tampered as tampered
from .audit_log import verify as verify
