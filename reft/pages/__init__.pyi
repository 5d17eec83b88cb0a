from .marking import Piece as Piece
from .marking import Turn as Turn
from .marking import marked as marked
from .marking import pieces_of as pieces_of
from .marking import turns_of as turns_of
from .rendering import environment_of as environment_of
