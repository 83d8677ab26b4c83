r"""Make up retail traffic: an endless, seeded sequence of transactions, with no database in sight.

The same seed gives the same transactions, keys, times and texts, always: rows hold JSON values, and
all randomness and all times come out of the seed. How fast they are committed is `simulator`'s affair.

The texts hold what breaks pipelines: quotes, tabs, line breaks, backslashes, `\N`, empty strings
beside nulls, characters outside the basic plane; dates lie before 1970; keys are deleted and come back.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Operation", "Statement", "Traffic", "Transaction"]

Operation: TypeAlias = Literal["insert", "update", "delete"]
Row: TypeAlias = dict[str, Any]

_EPOCH = datetime(2025, 3, 1, 8, tzinfo=timezone.utc)
_OPEN_ORDERS_MAX = 2_000  # older orders are left alone, so that a long run needs no more memory
_STATUSES = {"placed": "paid", "paid": "packed", "packed": "shipped", "shipped": "delivered"}
_FIRST = ("Ada", "Zoë", "Łukasz", "Mina", "José", "Anaïs", "Ravi", "Søren", "Mei", "O'Neil", "Ümit", "Noor")
_LAST = ("Lovelace", "D'Angelo", "Núñez", "Smith", "Иванова", "田中", "Okafor", 'van "Dirk"', "Groß", "Levi")
_CITIES = ("Antwerp", "Łódź", "São Paulo", "Kyōto", "Lagos", "Zürich", "Porto", "Reykjavík")
_CATEGORIES = ("grocery", "garden", "toys", "books", "shoes", "home & kitchen")
_NOTES = (
    None,
    "",
    "leave at the door",
    "tab\there",
    "two\nlines",
    r"C:\temp\N",
    r"\N",
    "🎁 gift, 100% «fragile»",
    'a;b,"c"',
)


@dataclass(frozen=True)
class Statement:
    """Hold rows that one SQL statement changes.

    Attributes:
        table: whose rows.
        operation: what is done with them.
        rows: column to JSON value; whole rows for inserts, key and changed columns for updates
            (all with the same columns), the key alone for deletes.
    """

    table: str
    operation: Operation
    rows: tuple[Row, ...]


Transaction: TypeAlias = tuple[Statement, ...]


@dataclass
class _Order:
    order_id: int
    store_id: int
    status: str
    lines: dict[int, tuple[int, int, int]]  # line to product, quantity, unit price in cents
    next_line: int = 1


@dataclass
class _Bag:
    """Keep items for a random choice and a removal in constant time."""

    items: list[Any] = field(default_factory=list)

    def add(self, item: Any) -> None:
        self.items.append(item)

    def take(self, dice: random.Random) -> Any:
        at = dice.randrange(len(self.items))
        self.items[at], self.items[-1] = self.items[-1], self.items[at]
        return self.items.pop()


class Traffic:
    """Make up transactions of a retailer with stores, for one seed.

    Args:
        seed: of all that is random.
    """

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - traffic, not secrets
        self._now = _EPOCH
        self._last_id = dict.fromkeys(("customers", "products", "stores", "orders"), 0)
        self._customers: list[int] = []
        self._idle_customers = _Bag()  # never ordered, so they may be erased
        self._prices: dict[int, int] = {}
        self._products: list[int] = []
        self._samples = _Bag()  # never sold, so they may be withdrawn
        self._stores: list[int] = []
        self._popups = _Bag()  # without orders and stock, so they may be closed
        self._stock: dict[tuple[int, int], int] = {}
        self._orders = _Bag()
        mix: tuple[tuple[int, Callable[[], Transaction]], ...] = (
            (34, self._place_order),
            (30, self._advance_order),
            (7, self._change_line),
            (6, self._cancel_order),
            (5, self._register_customer),
            (5, self._edit_customer),
            (2, self._erase_customer),
            (3, self._reprice),
            (1, self._launch_sample),
            (1, self._withdraw_sample),
            (3, self._count_stock),
            (2, self._relist),
            (1, self._edit_store),
            (1, self._open_or_close_popup),
        )
        self._kinds = [kind for _, kind in mix]
        self._weights = [weight for weight, _ in mix]

    def opening(
        self, *, customers: int = 1_000, products: int = 200, stores: int = 20
    ) -> Iterator[Transaction]:
        """Yield the transactions that fill an empty database; take them all before `transactions`."""
        yield (Statement("stores", "insert", tuple(self._store() for _ in range(stores))),)
        self._stores = list(range(1, stores + 1))
        yield (Statement("products", "insert", tuple(self._product() for _ in range(products))),)
        self._products = list(range(1, products + 1))
        yield (Statement("customers", "insert", tuple(self._customer() for _ in range(customers))),)
        self._customers = list(range(1, customers + 1))
        for store in self._stores:
            yield (Statement("inventory", "insert", tuple(self._shelf(store, p) for p in self._products)),)
        for _ in range(customers // 2):
            yield self._place_order()

    def transactions(self) -> Iterator[Transaction]:
        """Yield transactions without end."""
        while True:
            (kind,) = self._dice.choices(self._kinds, self._weights)
            self._now += timedelta(microseconds=self._dice.randrange(1, 900_000))
            yield kind()

    # Orders.

    def _place_order(self) -> Transaction:
        dice = self._dice
        order_id = self._next_id("orders")
        store = dice.choice(self._stores)
        order = _Order(order_id, store, "placed", {})
        items = [self._item(order, product) for product in dice.sample(self._products, dice.randint(1, 5))]
        self._keep(order)
        head = {
            "order_id": order_id,
            "reference": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            "customer_id": dice.choice(self._customers),
            "store_id": store,
            "status": order.status,
            "total": _total(order),
            "note": dice.choice(_NOTES),
            "ordered_at": self._time(),
        }
        statements = [
            Statement("orders", "insert", (head,)),
            Statement("order_items", "insert", tuple(items)),
        ]
        return (*statements, *self._move_stock(order, sign=-1))

    def _advance_order(self) -> Transaction:
        if not self._orders.items:
            return self._place_order()
        order = self._orders.take(self._dice)
        order.status = _STATUSES[order.status]
        if order.status in _STATUSES:
            self._keep(order)
        return (Statement("orders", "update", ({"order_id": order.order_id, "status": order.status},)),)

    def _change_line(self) -> Transaction:
        if not self._orders.items:
            return self._place_order()
        order = self._dice.choice(self._orders.items)
        line = self._dice.choice(list(order.lines))
        product, _, price = order.lines[line]
        order.lines[line] = (product, self._dice.randint(1, 12), price)
        item = {"order_id": order.order_id, "line": line, "quantity": order.lines[line][1]}
        head = {"order_id": order.order_id, "total": _total(order)}
        return (Statement("order_items", "update", (item,)), Statement("orders", "update", (head,)))

    def _cancel_order(self) -> Transaction:
        if not self._orders.items:
            return self._place_order()
        order = self._orders.take(self._dice)
        items = tuple({"order_id": order.order_id, "line": line} for line in order.lines)
        statements = (
            Statement("order_items", "delete", items),
            Statement("orders", "delete", ({"order_id": order.order_id},)),
        )
        return (*statements, *self._move_stock(order, sign=1))

    def _item(self, order: _Order, product: int) -> Row:
        line, quantity, price = order.next_line, self._dice.randint(1, 9), self._prices[product]
        order.lines[line] = (product, quantity, price)
        order.next_line += 1
        return {
            "order_id": order.order_id,
            "line": line,
            "product_id": product,
            "quantity": quantity,
            "unit_price": _money(price),
            "is_gift": self._chance(0.1),
        }

    def _move_stock(self, order: _Order, *, sign: int) -> Transaction:
        moved = []
        for product, quantity, _ in order.lines.values():
            shelf = (order.store_id, product)
            if shelf in self._stock:
                self._stock[shelf] += sign * quantity  # below zero means back-ordered
                moved.append(
                    self._shelf_key(shelf) | {"on_hand": self._stock[shelf], "updated_at": self._time()}
                )
        return (Statement("inventory", "update", tuple(moved)),) if moved else ()

    def _keep(self, order: _Order) -> None:
        if len(self._orders.items) >= _OPEN_ORDERS_MAX:
            self._orders.take(self._dice)
        self._orders.add(order)

    # Customers.

    def _register_customer(self) -> Transaction:
        row = self._customer()
        if self._chance(0.5):
            self._idle_customers.add(row["customer_id"])
        else:
            self._customers.append(row["customer_id"])
        return (Statement("customers", "insert", (row,)),)

    def _edit_customer(self) -> Transaction:
        row = {"customer_id": self._dice.choice(self._customers), "preferences": self._preferences()}
        return (Statement("customers", "update", (row,)),)

    def _erase_customer(self) -> Transaction:
        if not self._idle_customers.items:
            return self._register_customer()
        row = {"customer_id": self._idle_customers.take(self._dice)}
        return (Statement("customers", "delete", (row,)),)

    def _customer(self) -> Row:
        dice, customer = self._dice, self._next_id("customers")
        born = date(1931, 1, 1) + timedelta(days=dice.randrange(27_000))
        return {
            "customer_id": customer,
            "email": f"customer{customer}@example.com",
            "full_name": f"{dice.choice(_FIRST)} {dice.choice(_LAST)}",
            "birth_date": None if self._chance(0.2) else born.isoformat(),
            "is_member": self._chance(0.4),
            "preferences": self._preferences(),
            "registered_at": self._time(),
        }

    def _preferences(self) -> Row:
        dice = self._dice
        channels = dice.sample(("mail", "sms", "post"), dice.randint(0, 3))
        return {"channels": channels, "discount": dice.randrange(100) / 100, "nick": dice.choice(_NOTES)}

    # Products and shelves.

    def _reprice(self) -> Transaction:
        rows = []
        for product in sorted(self._dice.sample(self._products, 5)):
            self._prices[product] = self._price()
            price = _money(self._prices[product])
            rows.append({"product_id": product, "price": price, "updated_at": self._time()})
        return (Statement("products", "update", tuple(rows)),)

    def _launch_sample(self) -> Transaction:
        row = self._product()
        self._samples.add(row["product_id"])
        return (Statement("products", "insert", (row,)),)

    def _withdraw_sample(self) -> Transaction:
        if not self._samples.items:
            return self._launch_sample()
        row = {"product_id": self._samples.take(self._dice)}
        return (Statement("products", "delete", (row,)),)

    def _count_stock(self) -> Transaction:
        store, day = self._dice.choice(self._stores), self._now.date().isoformat()
        rows = []
        for product in sorted(self._dice.sample(self._products, 10)):
            if (store, product) in self._stock:
                self._stock[store, product] = on_hand = self._dice.randrange(500)
                rows.append(
                    self._shelf_key((store, product))
                    | {"on_hand": on_hand, "counted_on": day, "updated_at": self._time()}
                )
        return (Statement("inventory", "update", tuple(rows)),) if rows else self._relist()

    def _relist(self) -> Transaction:
        """Take a product off a store's shelf, or put it back: the same key is deleted and inserted again."""
        shelf = (self._dice.choice(self._stores), self._dice.choice(self._products))
        if shelf in self._stock:
            del self._stock[shelf]
            return (Statement("inventory", "delete", (self._shelf_key(shelf),)),)
        return (Statement("inventory", "insert", (self._shelf(*shelf),)),)

    def _product(self) -> Row:
        dice, product = self._dice, self._next_id("products")
        self._prices[product] = self._price()
        return {
            "product_id": product,
            "sku": f"SKU-{product:08d}",
            "name": f"{dice.choice(_LAST)}'s {dice.choice(_CATEGORIES)} № {product}",
            "category": dice.choice(_CATEGORIES),
            "price": _money(self._prices[product]),
            "is_active": self._chance(0.95),
            "attributes": None if self._chance(0.3) else {"weight_g": dice.randrange(9_000), "tags": ["new"]},
            "updated_at": self._time(),
        }

    def _price(self) -> int:
        return self._dice.randrange(1, 999_999_999_999 if self._chance(0.01) else 20_000)

    def _shelf(self, store: int, product: int) -> Row:
        self._stock[store, product] = on_hand = self._dice.randrange(500)
        rest = {"on_hand": on_hand, "counted_on": None, "updated_at": self._time()}
        return self._shelf_key((store, product)) | rest

    @staticmethod
    def _shelf_key(shelf: tuple[int, int]) -> Row:
        return {"store_id": shelf[0], "product_id": shelf[1]}

    # Stores.

    def _edit_store(self) -> Transaction:
        row = {"store_id": self._dice.choice(self._stores), "is_open": self._chance(0.9)}
        return (Statement("stores", "update", (row,)),)

    def _open_or_close_popup(self) -> Transaction:
        if self._popups.items and self._chance(0.5):
            row = {"store_id": self._popups.take(self._dice)}
            return (Statement("stores", "delete", (row,)),)
        row = self._store()
        self._popups.add(row["store_id"])
        return (Statement("stores", "insert", (row,)),)

    def _store(self) -> Row:
        dice, store = self._dice, self._next_id("stores")
        city = dice.choice(_CITIES)
        return {
            "store_id": store,
            "name": f"{city} № {store}",
            "city": city,
            "opened_on": (date(1958, 5, 1) + timedelta(days=dice.randrange(24_000))).isoformat(),
            "is_open": True,
            "area_m2": dice.random() * 5_000,
        }

    def _next_id(self, table: str) -> int:
        self._last_id[table] += 1
        return self._last_id[table]

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    def _time(self) -> str:
        return (self._now + timedelta(microseconds=self._dice.randrange(1_000_000))).isoformat()


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _total(order: _Order) -> str:
    # A back-stop for the rare luxury price: the column holds ten digits before the point.
    return _money(min(sum(quantity * price for _, quantity, price in order.lines.values()), 999_999_999_999))
