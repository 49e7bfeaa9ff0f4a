"""A test puts another function in a dependency's place."""

import asyncio

from pondsocket import Depends
from pondsocket.testing import connect

from tests.faults._outcome import end
from tests.faults._rooms import build, result_of


def get_database() -> str:
    return "the real one"


async def main() -> list[str]:
    rooms = build()

    async def which(database: str = Depends(get_database)) -> str:
        return database

    rooms.lobby.on_message("which", which)
    rooms.pond.dependency_overrides[get_database] = lambda: "another"
    answers = []
    async with connect(rooms.pond, "/socket") as ann:
        await ann.join("/room/1")
        for _ in range(2):
            answers.append(result_of(await ann.answer(ann.send("BROADCAST", "/room/1", "which"))))
            rooms.pond.dependency_overrides.clear()
    return [] if answers == ["another", "the real one"] else [f"answered {answers}"]


if __name__ == "__main__":
    end(asyncio.run(main()), "a dependency is overridden, and is back")
