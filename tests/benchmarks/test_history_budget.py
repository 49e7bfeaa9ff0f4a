"""Histories stay within their budget of memory; these tests do not check times."""

from tests.benchmarks.history import CHANNELS, MOST_BYTES, measure_memory


def test_10_000_channels_with_100_messages_of_200_bytes_take_less_than_500_megabytes() -> None:
    channels = 100
    # The budget holds whether the 200 bytes are the message or, as here, only its payload.
    memory = measure_memory(channels, {"text": "x" * 189})
    assert memory.taken_bytes <= MOST_BYTES * channels / CHANNELS
