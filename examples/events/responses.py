# Handlers in a class: the signature is the message, the return annotation the response.
#
# Run it with `uvicorn examples.events.responses:app`; clients connect to `/socket`.

from pondsocket import PondSocket, on_message
from pondsocket_asgi import PondASGIApp
from pydantic import BaseModel


class Task(BaseModel):
    title: str
    is_done: bool = False


class Tasks:
    def __init__(self) -> None:
        self.tasks: list[Task] = []

    @on_message("add")
    async def add(self, title: str) -> Task:
        self.tasks.append(Task(title=title))
        return self.tasks[-1]

    @on_message("find")
    async def find(self, word: str, limit: int = 10) -> list[Task]:
        return [task for task in self.tasks if word in task.title][:limit]


pond = PondSocket()
pond.create_endpoint("/socket").include(Tasks())
app = PondASGIApp(pond)
