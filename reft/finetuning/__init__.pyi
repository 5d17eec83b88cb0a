from .artifact import Student as Student
from .job import FinetuneJob as FinetuneJob
from .student import Alignment as Alignment
from .student import fit_student as fit_student
from .student import student_job as student_job
