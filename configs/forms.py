"""Hold the forms that names and addresses have in a config, with words for people beside each pattern."""

from __future__ import annotations

__all__ = [
    "CLIENT",
    "COLUMN",
    "LABEL",
    "LABEL_VALUE",
    "LOOPBACK",
    "MODULE",
    "NAME",
    "SERVERS",
    "SETTING",
    "TABLE",
    "TOPIC",
    "TRANSFORM",
    "WORDS",
]

CLIENT = r"^[a-z][a-z0-9_]{0,30}$"
# Postgres cuts identifiers after 63 bytes.
NAME = r"^[a-z][a-z0-9_]{0,62}$"
COLUMN = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"
TOPIC = r"^[A-Za-z0-9._-]{1,249}$"
# A version has one spelling: 01.0.0 would be another name for what 1.0.0 names.
TRANSFORM = r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*@(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}$"
MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$"
SERVERS = r"^[^\s,]+:\d+(,[^\s,]+:\d+)*$"
# Names of tables go into regular expressions and names of topics.
TABLE = r"^[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}$"
SETTING = r"^[a-z][A-Za-z0-9._-]*$"
# Those of Kubernetes, of which these are labels, too, without prefixes.
LABEL = r"^[a-z](?:[a-z0-9_-]{0,61}[a-z0-9])?$"
LABEL_VALUE = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
# Hosts to which nothing crosses a network.
LOOPBACK = ("127.0.0.1", "::1", "localhost")

WORDS = {
    CLIENT: "a name of a-z, 0-9 and _, at most 31, the first a letter",
    NAME: "a name of a-z, 0-9 and _, at most 63, the first a letter",
    COLUMN: (
        "a name of letters, digits and _, at most 63, the first a letter: "
        "columns that start with _ are tillstream's own"
    ),
    TOPIC: "a topic's name: letters, digits, '.', '_' and '-', at most 249",
    MODULE: "a Python module's dotted name",
    TRANSFORM: "client.name@1.2.3 in lower case, its numbers without leading zeros",
    SERVERS: "host:port, several with commas",
    SETTING: "the name of a property, such as value.converter",
    TABLE: "schema.table, both of a-z, 0-9 and _",
    LABEL: "a label: a-z, 0-9, _ and -, at most 63, the first a letter, the last a letter or digit",
    LABEL_VALUE: (
        "a label's value: letters, digits, '.', '_' and '-', at most 63, the first and last a letter or digit"
    ),
}
