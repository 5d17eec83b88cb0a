from .app import create_app as create_app
from .settings import ServiceSettings as ServiceSettings
from .settings import read_service_settings as read_service_settings
