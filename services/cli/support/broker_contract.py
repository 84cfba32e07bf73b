"""Run of the checks of a broker's contract."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from services.cli.support.contract_bench import ContractBench, ContractBroken
from services.cli.support.contract_checks import CHECKS, ContractCheck
from shared.bus.errors import BusError
from shared.bus.settings import BusSettings

# Bound on one check, whatever it waits for.
_LIMIT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class ContractResult:
    """The result of one check.

    Attributes:
        check: what was tried.
        is_kept: whether the broker does it.
        text: a remark, or what the broker does instead.
    """

    check: ContractCheck
    is_kept: bool
    text: str


async def try_contract(
    settings: BusSettings, second: BusSettings | None = None, checks: Sequence[ContractCheck] = CHECKS
) -> list[ContractResult]:
    """Try what Segue needs of a broker, and leave nothing there.

    Args:
        settings: of the broker.
        second: another node of its cluster, or the broker at the other end of a bridge: messages are received there.
        checks: what to try. After the first that is not kept, nothing else is tried: it is about rights.

    Raises:
        BusError: the broker is out of reach, or refuses the account.
    """
    bench = ContractBench(settings, second)
    # Raises: without it nothing can be said of the broker.
    async with bench.client(), bench.client(at_second=True):
        pass
    results: list[ContractResult] = []
    try:
        for check in checks:
            results.append(await _tried(check, bench))
            if check is CHECKS[0] and not results[-1].is_kept:
                break
    finally:
        await bench.clean_up()
    return results


async def _tried(check: ContractCheck, bench: ContractBench) -> ContractResult:
    try:
        async with asyncio.timeout(_LIMIT_S):
            return ContractResult(check, True, await check.run(bench))
    except ContractBroken as broken:
        return ContractResult(check, False, str(broken))
    except TimeoutError:
        return ContractResult(check, False, "the broker does not answer in time")
    except BusError as error:
        return ContractResult(check, False, str(error))
