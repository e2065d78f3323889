"""What each stage of training is made of at each size, where every value comes from, and how to change it."""

from ovexport.train.recipe.recipe import Recipe as Recipe
from ovexport.train.recipe.recipe import Resolved as Resolved
from ovexport.train.recipe.resolve import resolve as resolve
from ovexport.train.recipe.stages import STAGES as STAGES
