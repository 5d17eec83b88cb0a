from .file import FileReport as FileReport
from .file import validate_file as validate_file
from .labels import labels_of as labels_of
from .validate import ValidatedData as ValidatedData
from .validate import validate_user_data as validate_user_data
