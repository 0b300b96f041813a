"""The world of the drawn geotagged sample: land, towns, the people who take photos, and what a place looks like.

Continents are rough boxes where the real ones are, so that maps look right; towns, countries and all looks are drawn
from a seed and are nobody's.
"""

import math
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.planet.sphere import coordinates, unit_vectors

# Builders of one style share a continent: its boxes of south, north, west, east, in degrees.
LAND = (
    ((30, 50, -120, -75), (50, 60, -125, -95), (18, 28, -104, -98)),  # North America
    ((-15, 2, -76, -46), (-38, -18, -68, -54)),  # South America
    ((44, 58, 2, 38), (38, 43, -8, -2), (58, 64, 10, 30)),  # Europe
    ((6, 30, -8, 30), (-10, 3, 14, 38), (-30, -14, 18, 32)),  # Africa
    ((22, 38, 76, 115), (12, 24, 76, 82), (50, 60, 50, 110), (12, 20, 99, 105)),  # Asia
    ((-33, -20, 118, 148), (-8, -3, 138, 144)),  # Oceania
)
TOWNS = 48
COUNTRIES = 4  # of each continent
TOWN_SPREAD = (8.0, 60.0)  # km that photos lie from the middle of a town, roughly: the tightest and the widest
ANYWHERE = 0.1  # of the photos: in no town
HOME = 0.75  # of a person's photos: in the town where that person lives
PHOTOS_EACH = 4  # of a person, in the mean
YEARS = (datetime(2010, 1, 1, tzinfo=UTC), 3650)  # the first day, and how many days

Array = NDArray[np.float64]


class Town(NamedTuple):
    middle: Array  # (3,) unit vector
    continent: int
    spread: float  # radians


class Look(NamedTuple):
    """What can be told from an image: each part says something of the place, none of them all.

    continent: index of the builders' style. sign: index of a country's road sign, 0 to 23. climate: 0, tropical, to
    4, boreal. rough: 0 to 1, of the hills. dry: 0 to 1, of the ground.
    """

    continent: int
    sign: int
    climate: int
    rough: float
    dry: float


class World:
    """Towns of Zipf's sizes on the continents, and countries around some of them.

    seed: of towns, countries and their signs.
    """

    def __init__(self, seed: int):
        rng = np.random.default_rng((seed, 0))
        self.towns = [self._found(rng, k % len(LAND)) for k in range(TOWNS)]
        weights = 1 / (3 + rng.permutation(TOWNS))
        self.weights = weights / weights.sum()
        self.signs = rng.permutation(len(LAND) * COUNTRIES).reshape(len(LAND), COUNTRIES)
        self.capitals = [self._capitals(rng, continent) for continent in range(len(LAND))]
        self.waves = rng.normal(0, 3, (2, 3, 3)), rng.uniform(0, 2 * np.pi, (2, 3))

    def _found(self, rng: np.random.Generator, continent: int) -> Town:
        low, high = TOWN_SPREAD
        spread = math.exp(rng.uniform(math.log(low), math.log(high))) / 6371
        return Town(_anywhere(rng, continent), continent, spread)

    def _capitals(self, rng: np.random.Generator, continent: int) -> Array:
        """(COUNTRIES, 3): places far from each other; a country is what lies nearest to its own."""
        places = np.stack([_anywhere(rng, continent) for _ in range(40)])
        chosen = [places[0]]
        while len(chosen) < COUNTRIES:
            nearness = (places @ np.stack(chosen).T).max(1)
            chosen.append(places[nearness.argmin()])
        return np.stack(chosen)

    def place(self, rng: np.random.Generator, home: int) -> tuple[float, float, int]:
        """Latitude and longitude of a photo by someone who lives in town `home`, and its continent."""
        if rng.random() < ANYWHERE:
            continent = int(rng.integers(len(LAND)))
            point = _anywhere(rng, continent)
        else:
            town = self.towns[home if rng.random() < HOME else rng.choice(TOWNS, p=self.weights)]
            point, continent = town.middle + town.spread * rng.standard_normal(3), town.continent
        lat, lon = coordinates(point).round(6).tolist()
        return lat, lon, continent

    def look(self, rng: np.random.Generator, lat: float, lon: float, continent: int) -> Look:
        """What it looks like there; climates have no sharp borders."""
        point = unit_vectors(lat, lon)
        country = int((self.capitals[continent] @ point).argmax())
        climate = (abs(lat) + rng.normal(0, 3)) / 13
        (rough, dry), (waves, turns) = np.zeros(2), self.waves
        rough, dry = 0.5 + 0.5 * np.sin(waves @ point + turns).mean(1) / 0.5
        return Look(
            continent, int(self.signs[continent, country]), int(np.clip(climate, 0, 4)), *np.clip([rough, dry], 0, 1)
        )


class Person(NamedTuple):
    name: str
    home: int
    tint: Array  # (3,) what their camera does to red, green and blue


def people(world: World, count: int, seed: int, side: int) -> list[Person]:
    """Those who take `count` photos of a side of the sample, 0 or 1; nobody is on both. The first live apart."""
    made = []
    for number in range(max(count // PHOTOS_EACH, min(count, 8))):
        rng = np.random.default_rng((seed, 1, side, number))
        home = number % TOWNS if number < TOWNS else int(rng.choice(TOWNS, p=world.weights))
        made.append(Person(f"user_{2 * number + side:05d}", home, np.exp(rng.normal(0, 0.08, 3))))
    return made


def moment(rng: np.random.Generator) -> datetime:
    first, days = YEARS
    return first + timedelta(seconds=int(rng.integers(days * 86400)))


def _anywhere(rng: np.random.Generator, continent: int) -> Array:
    """(3,): a place on a continent, even over its area."""
    boxes = np.array(LAND[continent], float)
    south, north = np.sin(np.radians(boxes[:, 0])), np.sin(np.radians(boxes[:, 1]))
    areas = (north - south) * (boxes[:, 3] - boxes[:, 2])
    box = rng.choice(len(boxes), p=areas / areas.sum())
    lat = math.degrees(math.asin(rng.uniform(south[box], north[box])))
    return unit_vectors(lat, rng.uniform(boxes[box, 2], boxes[box, 3]))
