"""Bank conflicts in shared memory, counted from the addresses that the products of a step access."""

import pytest
from conflicts import BACKWARD, FORWARD, NETS, WEIGHTS, counted, todays
from rig.libraries import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

CYCLES = {  # of each product of a step; a change of these numbers is a change of the time that a step takes
    "digits": {
        (64, 32): {FORWARD: 1856, WEIGHTS: 1936},
        (32, 10): {FORWARD: 1056, BACKWARD: 304, WEIGHTS: 1072},
    },
    "tabular": {
        (13, 64): {FORWARD: 608, WEIGHTS: 1060},
        (64, 64): {FORWARD: 2688, BACKWARD: 3648, WEIGHTS: 2960},
        (64, 1): {FORWARD: 224, BACKWARD: 160, WEIGHTS: 172},
    },
    "64-64": {(64, 64): {FORWARD: 2688, BACKWARD: 3648, WEIGHTS: 2960}},
    "128-128": {(128, 128): {FORWARD: 8832, BACKWARD: 8704, WEIGHTS: 9232}},
}


@pytest.mark.parametrize("net", NETS)
def test_cycles_of_todays_products(net):
    found = list(counted(todays(), *NETS[net]))
    cycles = {}
    for each in found:
        cycles.setdefault((each.K, each.M), {})[each.kind] = each.cycles
    assert cycles == CYCLES[net]
    assert max(each.ways for each in found) < 2


def test_lanes_that_begin_at_the_same_number_conflict():
    """What is counted is the text of the sources: without the turn of the lanes, all read one bank."""
    same = todays().replace("n += (p.b_step == 1 ? y : lane) % (stop - start)", "n += 0")
    ways = {each.kind: each.ways for each in counted(same, (64, 64), 32)}
    assert ways[BACKWARD] > 5 > 2 > ways[FORWARD]


READS = """  // in the place of the products: a size of the line says how far apart
typedef long long Word;
struct Line { const Word* next; };
struct Team { int thread, threads, block, blocks; };
namespace kernels {
template <class T> void linear(Line line, const Team& team) {
  if (team.thread < 32) T one = ((T*)line.next[3])[team.thread * line.next[1]];
}
template <class T> void linear_backward(Line line, const Team& team) {
  if (team.thread < 32) Four<T> four = ((Four<T>*)line.next[0])[team.thread * line.next[1]];
}
template <class T> void linear_backward_weights_sgd(Line line, const Team& team) {}
}
"""


@pytest.mark.parametrize(("apart", "one", "four"), [(0, 1, 4), (1, 1, 4), (2, 2, 8), (3, 1, 4), (8, 8, 32)])
def test_cycles_of_a_warp_that_reads_numbers_so_far_apart(apart, one, four):
    """Each lane reads one number, or four at once; lanes that read the same wait for nobody."""
    found = {each.kind: each for each in counted(READS, (128, 128), apart)}
    assert (found[FORWARD].cycles, found[BACKWARD].cycles) == (one, four)
    assert (found[FORWARD].transactions, found[BACKWARD].transactions) == (1, 4)
