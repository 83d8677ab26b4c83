"""Say in SQL what the views of client acme must hold, so that a demo can check them on the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from tillstream.runners.demo.compare import TablePair

if TYPE_CHECKING:
    import psycopg

__all__ = ["VIEWS", "View", "create", "pairs"]

# Made for one session: Debezium and the next demo see nothing of them.
_SCHEMA = "pg_temp"


@dataclass(frozen=True)
class View:
    """Describe one view.

    Attributes:
        name: of the entity in acme's config.
        key: its key columns.
        columns: what is compared, the key's among them.
        query: that makes the same of the source's tables, values and types.
    """

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    query: str


VIEWS = (
    View(
        "orders_enriched",
        ("order_id",),
        (
            *("order_id", "reference", "status", "total", "ordered_at", "customer_id", "customer_name"),
            *("is_member", "store_id", "store_name", "store_city"),
        ),
        "select order_id, reference, status, total, ordered_at, customer_id, "
        # Acme's privacy masks names: whoever is known has one that is withheld.
        "case when c.full_name is not null then 'withheld' end as customer_name, "
        "c.is_member, store_id, s.name as store_name, s.city as store_city from public.orders "
        "left join public.customers c using (customer_id) left join public.stores s using (store_id)",
    ),
    View(
        "order_items_enriched",
        ("order_id", "line"),
        (
            *("order_id", "line", "product_id", "quantity", "unit_price", "is_gift"),
            *("product_name", "category", "order_status"),
        ),
        "select order_id, line, product_id, quantity, unit_price, is_gift, p.name as product_name, "
        "p.category, o.status as order_status from public.order_items "
        "left join public.products p using (product_id) left join public.orders o using (order_id)",
    ),
    View(
        "sales_per_store_and_hour",
        ("store_id", "hour"),
        ("store_id", "hour", "orders", "revenue", "largest_order"),
        "select store_id, date_trunc('hour', ordered_at, 'UTC') as hour, count(*) as orders, "
        "sum(total) as revenue, max(total) as largest_order from public.orders group by 1, 2",
    ),
    View(
        "inventory_below_reorder",
        ("store_id", "product_id"),
        ("store_id", "product_id", "on_hand", "missing"),
        "select store_id, product_id, on_hand, 50 - on_hand as missing from public.inventory "
        "where on_hand < 50",
    ),
    View(
        "customers_masked",
        ("customer_id",),
        ("customer_id", "full_name", "birth_date", "is_member"),
        "select customer_id, 'withheld' as full_name, null::date as birth_date, is_member "
        "from public.customers",
    ),
)


def create(source: psycopg.Connection[Any]) -> None:
    """Create the views in the session of a connection to the source, or replace them."""
    for view in VIEWS:
        name = sql.Identifier(_SCHEMA, view.name)
        # Queries are constants of this file, hence SQL.
        source.execute(sql.SQL("create or replace view {} as ").format(name) + sql.SQL(view.query))


def pairs(warehouse_schema: str) -> list[TablePair]:
    """Return what to compare with what, once `create` has made the views."""
    return [
        TablePair((_SCHEMA, view.name), (warehouse_schema, view.name), view.key, view.columns, view.columns)
        for view in VIEWS
    ]
