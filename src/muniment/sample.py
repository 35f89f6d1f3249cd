"""A shop's database of any size, for trying things out, for tests and for benchmarks.

After RavenDB's own sample, Northwind: the same collections in the same proportions (1 051 documents give exactly its
sizes), with its kind of names, prices with two places and RavenDB's dates. The documents refer to each other and the
references hold from 1 051 documents on.

The same arguments give the same bytes on every machine and every Python: all choices come from one 64-bit linear
congruential generator (multiplier and increment: Knuth, MMIX), of which the upper bits decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from itertools import count as numbers
from struct import pack
from typing import Final, TypeVar
from zlib import adler32, crc32

T = TypeVar("T")

MULTIPLIER: Final = 6364136223846793005
INCREMENT: Final = 1442695040888963407
MASK: Final = (1 << 64) - 1
PI: Final = 0x243F6A8885A308D313198A2E03707344A4093822299F31D0  # its fraction; makes 256 bits that look random from 64

# Collection: its size in Northwind, and the most that a larger sample gets; what is left are orders.
SIZES: Final = {
    "Categories": (8, 8),
    "Regions": (4, 4),
    "Shippers": (3, 3),
    "Employees": (9, 100),
    "Suppliers": (29, 500),
    "Products": (77, 2_000),
    "Companies": (91, 10_000),
}
NORTHWIND: Final = 1_051

CATEGORIES: Final = (
    ("Beverages", "Soft drinks, coffees, teas, beers, and ales"),
    ("Condiments", "Sweet and savory sauces, relishes, spreads, and seasonings"),
    ("Confections", "Desserts, candies, and sweet breads"),
    ("Dairy Products", "Cheeses"),
    ("Grains/Cereals", "Breads, crackers, pasta, and cereal"),
    ("Meat/Poultry", "Prepared meats"),
    ("Produce", "Dried fruit and bean curd"),
    ("Seafood", "Seaweed and fish"),
)
REGIONS: Final = ("Eastern", "Western", "Northern", "Southern")
SHIPPERS: Final = ("Speedy Express", "United Package", "Federal Shipping")
# City, country, region, first digits of the postal code, latitude, longitude.
PLACES: Final = (
    ("Berlin", "Germany", None, "12", 52.52, 13.40),
    ("Mannheim", "Germany", None, "68", 49.49, 8.47),
    ("Köln", "Germany", None, "50", 50.94, 6.96),
    ("Strasbourg", "France", None, "67", 48.57, 7.75),
    ("Nantes", "France", None, "44", 47.22, -1.55),
    ("São Paulo", "Brazil", "SP", "05", -23.55, -46.63),
    ("Rio de Janeiro", "Brazil", "RJ", "02", -22.91, -43.17),
    ("México D.F.", "Mexico", None, "05", 19.43, -99.13),
    ("東京", "日本", None, "10", 35.68, 139.69),
    ("大阪", "日本", None, "54", 34.69, 135.50),
    ("Luleå", "Sweden", None, "97", 65.58, 22.15),
    ("Århus", "Denmark", None, "82", 56.16, 10.20),
    ("Warszawa", "Poland", None, "01", 52.23, 21.01),
    ("Αθήνα", "Ελλάδα", None, "10", 37.98, 23.73),
    ("Salzburg", "Austria", None, "50", 47.81, 13.06),
    ("Sevilla", "Spain", None, "41", 37.39, -5.98),
    ("London", "UK", None, "17", 51.51, -0.13),
    ("Cowes", "UK", "Isle of Wight", "31", 50.76, -1.30),
    ("Albuquerque", "USA", "NM", "87", 35.08, -106.65),
    ("Seattle", "USA", "WA", "98", 47.61, -122.33),
    ("Tsawassen", "Canada", "BC", "24", 49.01, -123.08),
    ("Montréal", "Canada", "Québec", "36", 45.50, -73.57),
)
STREETS: Final = (
    "Obere Str.", "Forsterstr.", "Berguvsvägen", "rue du Commerce", "Av. dos Lusíadas", "Gran Vía",
    "Fauntleroy Circus", "Avda. de la Constitución", "Hauptstr.", "Kirchgasse", "Rua Orós", "Åkergatan",
    "boulevard Charonne", "Via Monte Bianco", "Rambla de Cataluña", "City Center Plaza", "Main St.",
    "Garden House Crowther Way", "Smagsløget", "中央通り",
)  # fmt: skip
FIRST_NAMES: Final = (
    "Maria", "Frédérique", "Hanna", "Laurence", "Elizabeth", "Yang", "Pedro", "Sven", "Janine", "Ann", "Aria",
    "Diego", "Peter", "Zbyszek", "Jytte", "Λεωνίδας", "Michael", "Guylène", "Matti", "Karin", "Yoshi", "花子",
    "Andrew", "Nancy",
)  # fmt: skip
LAST_NAMES: Final = (
    "Anders", "Citeaux", "Moos", "Lebihan", "Lincoln", "Wang", "Afonso", "Ottlieb", "Labrune", "Devon", "Cruz",
    "Roel", "Rancé", "Piestrzeniewicz", "Petersen", "Franken", "Holz", "Nodier", "Karttunen", "Josephs",
    "Latimer", "山田", "Fuller", "Davolio", "Peacock", "Bergström",
)  # fmt: skip
TITLES: Final = (
    "Sales Representative", "Owner", "Order Administrator", "Marketing Manager", "Accounting Manager",
    "Sales Agent", "Purchasing Manager", "Export Administrator",
)  # fmt: skip
COMPANY_FIRST: Final = (
    "Alfreds", "Blauer See", "Berglunds", "Blondel", "Bólido", "Bon app'", "Bottom-Dollar", "Cactus",
    "Chop-suey", "Comércio", "Drachenblut", "Eastern", "Ernst", "Folies", "Furia", "Galería", "Hungry Coyote",
    "Königlich", "La maison", "Océano", "Piccolo", "Queen", "Rattlesnake", "Santé", "東京", "Vaffeljernet",
    "Wartian", "Wolski",
)  # fmt: skip
COMPANY_LAST: Final = (
    "Futterkiste", "Delikatessen", "snabbköp", "père et fils", "Comidas preparadas", "Markets", "Beverages",
    "Mineiro", "Connection", "Handel", "gourmandes", "Import Store", "Essen", "d'Asie", "Atlántico", "und mehr",
    "Cozinha", "Grocery", "商店", "Herkku", "Zajazd", "& Söhne",
)  # fmt: skip
PRODUCT_FIRST: Final = (
    "Queso", "Chef Anton's", "Grandma's", "Mishi Kobe", "Uncle Bob's", "Northwoods", "Sir Rodney's", "Gustaf's",
    "Rössle", "Thüringer", "Nord-Ost", "Gorgonzola", "Sasquatch", "Steeleye", "Côte de", "Jack's New England",
    "Ipoh", "Gnocchi di", "Maxilaku", "Valkoinen", "Röd", "Singaporean", "Zaanse", "Louisiana", "抹茶",
)  # fmt: skip
PRODUCT_LAST: Final = (
    "Cabrales", "Cajun Seasoning", "Boysenberry Spread", "Niku", "Dried Pears", "Cranberry Sauce", "Marmalade",
    "Knäckebröd", "Sauerkraut", "Rostbratwurst", "Matjeshering", "Telino", "Ale", "Stout", "Blaye",
    "Clam Chowder", "Coffee", "nonna Alice", "suklaa", "Kaviar", "Fried Mee", "koeken", "Hot Spiced Okra",
    "Tofu", "煎餅", "Crème brûlée",
)  # fmt: skip
PACKAGES: Final = ("10 boxes x 20 bags", "24 - 12 oz bottles", "48 - 6 oz jars", "12 - 550 ml", "1 kg pkg.", "5 kg")
DISCOUNTS: Final = ("0.00", "0.00", "0.05", "0.10", "0.15", "0.25")
WORDS: Final = tuple(
    """please deliver to the back entrance and ring twice call before noon leave with neighbour at number
    fragile keep refrigerated below five degrees customer asked for a written invoice part of goods follows
    second attempt paid in advance by bank transfer replace whatever was damaged on way gift wrapping return
    empty crates add three price lists French Lieferung nur vormittags bitte à livrer avant midi s'il vous
    plaît entregar na portaria não há elevador confirmed telephone branch manager discount agreed this quarter
    pallets labels Übergabe cellar Größe prüfen driver waits signature required order complete partial
    shipment allowed credit note enclosed samples free of charge
    """.split()
)
DAYS: Final = tuple(f"{date(1996, 7, 4) + timedelta(day)}T00:00:00.0000000".encode() for day in range(10 * 365))
LAST_ORDER_DAY: Final = len(DAYS) - 60


def documents(count: int, *, seed: int = 1) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield exactly `count` documents as (id, body, metadata), one collection after the other, orders last.

    A body is a JSON object in UTF-8, an order's about 1.2 KB.
    """
    dice = Dice(seed)
    sizes = {name: min(most, count * share // NORTHWIND) for name, (share, most) in SIZES.items()}
    orders = count - sum(sizes.values())
    known = {name: max(1, size) for name, size in sizes.items()}  # an order needs something to refer to
    products = [Product(number, dice, known) for number in range(1, known["Products"] + 1)]
    companies = [Company(number, dice) for number in range(1, known["Companies"] + 1)]
    bodies: dict[str, Iterator[str]] = {
        "Categories": (f'{{"Name":"{name}","Description":"{text}"}}' for name, text in CATEGORIES),
        "Regions": (_region(name, dice) for name in REGIONS),
        "Shippers": (f'{{"Name":"{name}","Phone":"{_phone(dice)}"}}' for name in SHIPPERS),
        "Employees": (_employee(number, dice) for number in numbers(1)),
        "Suppliers": (_supplier(dice) for _ in numbers()),
        "Products": (product.body for product in products),
        "Companies": (company.body for company in companies),
    }
    for collection, size in sizes.items():
        metadata = _metadata(collection)
        for number, body in zip(range(1, size + 1), bodies[collection], strict=False):
            yield f"{collection.lower()}/{number}", body.encode(), metadata
    metadata = _metadata("Orders")
    for number, order in enumerate(_orders(orders, dice, companies, products, known), 1):
        yield f"orders/{number}", order, metadata


def attachments(count: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield exactly `count` attachments as (key, metadata, content): small pictures of categories, then of products."""
    dice = Dice(1)
    for number in range(1, count + 1):
        owner = f"categories/{number}" if number <= len(CATEGORIES) else f"products/{number - len(CATEGORIES)}"
        yield f"{owner}/picture.png", b'{"Content-Type":"image/png"}', _png(8 + dice.below(24), dice)


class Dice:
    """The linear congruential generator."""

    def __init__(self, seed: int) -> None:
        self.state = seed & MASK
        for _ in range(4):  # so that neighbouring seeds part
            self.below(1)

    def below(self, limit: int) -> int:
        self.state = (self.state * MULTIPLIER + INCREMENT) & MASK
        return (self.state >> 32) % limit

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


class Product:
    """A product, and what every order line for it begins with."""

    def __init__(self, number: int, dice: Dice, known: Mapping[str, int]) -> None:
        name = f"{dice.pick(PRODUCT_FIRST)} {dice.pick(PRODUCT_LAST)}"
        price = f"{2 + dice.below(60)}.{dice.below(20) * 5:02}"
        self.body = (
            f'{{"Name":"{name}","Supplier":"suppliers/{1 + dice.below(known["Suppliers"])}",'
            f'"Category":"categories/{1 + dice.below(known["Categories"])}","QuantityPerUnit":"{dice.pick(PACKAGES)}",'
            f'"PricePerUnit":{price},"UnitsInStock":{dice.below(126)},"UnitsOnOrder":{dice.below(10) * 10},'
            f'"Discontinued":{_boolean(dice.below(10) == 0)},"ReorderLevel":{dice.below(7) * 5}}}'
        )
        self.line = f'{{"Product":"products/{number}","ProductName":"{name}","PricePerUnit":{price},'.encode()


class Company:
    """A company, and the part of an order that names it and says where it is."""

    def __init__(self, number: int, dice: Dice) -> None:
        name = f"{dice.pick(COMPANY_FIRST)} {dice.pick(COMPANY_LAST)}"
        address = _address(dice)
        self.body = (
            f'{{"ExternalId":"{_letters(5, dice)}","Name":"{name}","Contact":{_contact(dice)},"Address":{address},'
            f'"Phone":"{_phone(dice)}","Fax":{_or_null(_fax(dice))}}}'
        )
        self.order = f'{{"Company":"companies/{number}","ShipTo":{address},"Employee":"employees/'.encode()


def _orders(
    count: int, dice: Dice, companies: Sequence[Company], products: Sequence[Product], known: Mapping[str, int]
) -> Iterator[bytes]:
    """The bulk of a sample, so it is put together from ready-made pieces, with a throw of the dice for several."""
    state = dice.state
    heads = [company.order for company in companies]
    goods = [product.line for product in products]
    amounts, remarks = _amounts(), _phrases()
    join = b"".join
    for number in range(count):
        state = (state * MULTIPLIER + INCREMENT) & MASK
        lines, remark = [], []
        for _ in range(2 + (state >> 61)):
            state = (state * MULTIPLIER + INCREMENT) & MASK
            lines.append(goods[(state >> 40) % len(goods)] + amounts[(state >> 24) % len(amounts)])
            remark.append(remarks[(state >> 12) % len(remarks)])
        state = (state * MULTIPLIER + INCREMENT) & MASK
        day = number * LAST_ORDER_DAY // count
        yield join(
            (
                heads[(state >> 44) % len(heads)],
                b'%d","Freight":%d.%02d,"OrderedAt":"'
                % (1 + (state >> 36) % known["Employees"], (state >> 56), (state >> 48) % 100),
                DAYS[day],
                b'","RequireAt":"',
                DAYS[day + 28],
                b'","ShippedAt":"',
                DAYS[day + 1 + (state >> 40) % 20],
                b'","ShipVia":"shippers/%d","Signature":"%064x","Remarks":"'
                % (1 + (state >> 33) % known["Shippers"], state * PI),
                b" ".join(remark),
                b'","Lines":[',
                b",".join(lines),
                b"]}",
            )
        )


@cache
def _amounts() -> list[bytes]:
    """What every order line ends with."""
    dice = Dice(0)
    endings = (
        f'"Quantity":{1 + dice.below(130)},"Discount":{dice.pick(DISCOUNTS)},"Lot":"{dice.below(1 << 24):06X}"}}'
        for _ in range(8192)
    )
    return [ending.encode() for ending in endings]


@cache
def _phrases() -> list[bytes]:
    dice = Dice(0)
    return [f"{dice.pick(WORDS)} {dice.pick(WORDS)}".encode() for _ in range(8192)]


def _region(name: str, dice: Dice) -> str:
    territories = ",".join(f'{{"Code":"{_digits(5, dice)}","Name":"{dice.pick(PLACES)[0]}"}}' for _ in range(14))
    return f'{{"Name":"{name}","Territories":[{territories}]}}'


def _employee(number: int, dice: Dice) -> str:
    manager = '"employees/2"' if number != 2 else "null"
    notes = b" ".join(dice.pick(_phrases()) for _ in range(8)).decode()
    territories = ",".join(f'"{_digits(5, dice)}"' for _ in range(2 + dice.below(6)))
    return (
        f'{{"LastName":"{dice.pick(LAST_NAMES)}","FirstName":"{dice.pick(FIRST_NAMES)}","Title":"{dice.pick(TITLES)}",'
        f'"Address":{_address(dice)},"HiredAt":"{dice.pick(DAYS).decode()}","HomePhone":"{_phone(dice)}",'
        f'"Extension":"{_digits(4, dice)}","ReportsTo":{manager},"Notes":["{notes}"],"Territories":[{territories}]}}'
    )


def _supplier(dice: Dice) -> str:
    return (
        f'{{"Contact":{_contact(dice)},"Name":"{dice.pick(COMPANY_FIRST)} {dice.pick(COMPANY_LAST)}",'
        f'"Address":{_address(dice)},"Phone":"{_phone(dice)}","Fax":{_or_null(_fax(dice))},"HomePage":null}}'
    )


def _contact(dice: Dice) -> str:
    return f'{{"Name":"{dice.pick(FIRST_NAMES)} {dice.pick(LAST_NAMES)}","Title":"{dice.pick(TITLES)}"}}'


def _address(dice: Dice) -> str:
    city, country, region, postal, latitude, longitude = dice.pick(PLACES)
    north, east = latitude + dice.below(2000) / 10000, longitude + dice.below(2000) / 10000
    return (
        f'{{"Line1":"{dice.pick(STREETS)} {1 + dice.below(300)}","Line2":null,"City":"{city}",'
        f'"Region":{_or_null(region)},"PostalCode":"{postal}{_digits(3, dice)}","Country":"{country}",'
        f'"Location":{{"Latitude":{north:.4f},"Longitude":{east:.4f}}}}}'
    )


def _phone(dice: Dice) -> str:
    return f"({_digits(3, dice)}) 555-{_digits(4, dice)}"


def _fax(dice: Dice) -> str | None:
    return _phone(dice) if dice.below(3) else None


def _digits(length: int, dice: Dice) -> str:
    return f"{dice.below(10**length):0{length}}"


def _letters(length: int, dice: Dice) -> str:
    return "".join(dice.pick("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(length))


def _or_null(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _metadata(collection: str) -> bytes:
    return f'{{"Raven-Entity-Name":"{collection}"}}'.encode()


def _png(side: int, dice: Dice) -> bytes:
    """A square picture in a dozen colours, stored and not deflated: how zlib deflates differs between its versions."""
    colours = [pack(">I", dice.below(1 << 24))[1:] for _ in range(12)]
    pixels = b"".join(b"\0" + b"".join(dice.pick(colours) for _ in range(side)) for _ in range(side))
    size = len(pixels)
    stored = b"\x78\x01\x01" + pack("<HH", size, size ^ 0xFFFF) + pixels + pack(">I", adler32(pixels))
    header = pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", stored), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        pack(">I", len(data)) + kind + data + pack(">I", crc32(kind + data)) for kind, data in chunks
    )
