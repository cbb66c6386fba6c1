"""How long things took, in a space that does not grow with how many they were."""

from __future__ import annotations

import math

from attrs import define, field

_BUCKETS_A_DOUBLING = 16  # a latency is known to within 5 %


@define
class Latencies:
    """A histogram of seconds with buckets of equal ratio: its size does not grow with what it holds."""

    _counts: dict[int, int] = field(factory=dict)
    count: int = 0

    def add(self, seconds: float) -> None:
        """Take one."""
        bucket = math.ceil(math.log2(max(seconds, 1e-9)) * _BUCKETS_A_DOUBLING)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1

    def quantile(self, share: float) -> float:
        """The seconds that `share` (0 … 1) of all stay below, to within a bucket; 0 when there are none."""
        left = share * self.count
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return float(2 ** (bucket / _BUCKETS_A_DOUBLING))
        return 0.0
