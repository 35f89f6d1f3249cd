"""Run by `test_ravendb7_client.py` in an environment that has PyPI's ravendb 7.2: RavenDB's own client, at our server.

It reads the names of steps, one a line, does each, and writes what came of it as a line of JSON, so that the test can
look at the database between them. What a step does is what any program with this client would.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ravendb import DocumentStore  # type: ignore[import-not-found]

STEPS: dict[str, Any] = {}


def step(function: Any) -> Any:
    STEPS[function.__name__] = function
    return function


class Address:
    def __init__(self, city: str | None = None) -> None:
        self.city = city


class User:
    def __init__(self, name: str | None = None, age: int | None = None, friend: str | None = None) -> None:
        self.Id: str | None = None
        self.name = name
        self.age = age
        self.friend = friend


def shown(user: User | None) -> Any:
    return user and [user.Id, user.name, user.age]


@step
def store_users(store: Any) -> Any:
    """A session's documents are stored in one transaction, with ids that the server's HiLo has given and own ones."""
    with store.open_session() as session:
        users = [User("Zoë ½ & 100%", 31), User("Bob", 42)]
        for user in users:
            session.store(user)
        session.store(User("Ärger", 5, friend="users/1-A"), "users/Ärger/ü?&=+")
        metadata = session.advanced.get_metadata_for(users[1])
        metadata["Owner"] = {"of": ["this", 1]}
        metadata["Raven-Entity-Name"] = "a word of its own"
        session.save_changes()
        return [user.Id for user in users], session.advanced.get_change_vector_for(users[0])


@step
def load_users(store: Any) -> Any:
    with store.open_session() as session:
        one = session.load("users/1-A", User)
        several = session.load(["users/2-A", "users/none", "users/Ärger/ü?&=+"], User)
        same = session.load("USERS/1-a", User) is one
        metadata = session.advanced.get_metadata_for(one)
        return (
            shown(one),
            sorted(shown(user) for user in several.values() if user),
            session.load("users/none", User),
            same,
            metadata["@collection"],
            metadata["Raven-Python-Type"],
            session.advanced.get_last_modified_for(one).isoformat(),
        )


@step
def load_many_users(store: Any) -> Any:
    """So many ids that the client sends them in a body."""
    with store.open_session() as session:
        found = session.load([f"users/{'x' * 50}{n}" for n in range(30)] + ["users/1-A"], User)
        return [shown(user) for user in found.values() if user]


@step
def change_user(store: Any) -> Any:
    with store.open_session() as session:
        user = session.load("users/2-A", User)
        user.age += 1
        session.save_changes()
        metadata = session.advanced.get_metadata_for(user)
        return metadata["Owner"]["of"], metadata["Raven-Entity-Name"]


@step
def include_friend(store: Any) -> Any:
    """The second load is answered from what the first has brought along."""
    with store.open_session() as session:
        session.include("friend").load("users/Ärger/ü?&=+", User)
        before = session.advanced.number_of_requests
        friend = session.load("users/1-A", User)
        return shown(friend), session.advanced.number_of_requests - before


@step
def load_by_prefix(store: Any) -> Any:
    with store.open_session() as session:
        found = session.advanced.load_starting_with("users/", User)
        some = session.advanced.load_starting_with("users/", User, matches="*-A", exclude="1*", start=0, page_size=5)
        return [user.Id for user in found], [user.Id for user in some]


@step
def conflict(store: Any) -> Any:
    """Of two sessions that change a document, the second one fails and changes nothing."""
    with store.open_session() as first, store.open_session() as second:
        second.advanced.use_optimistic_concurrency = True
        mine, other = first.load("users/1-A", User), second.load("users/1-A", User)
        mine.age = 32
        first.save_changes()
        other.age = 99
        second.store(User("never", 1), "users/never")
        second.save_changes()


@step
def conflict_of_new_ones(store: Any) -> Any:
    with store.open_session() as session:
        session.advanced.use_optimistic_concurrency = True
        session.store(User("another", 1), "users/1-A")
        session.save_changes()


@step
def delete_user(store: Any) -> Any:
    with store.open_session() as session:
        session.delete(session.load("users/2-A", User))
        session.delete("users/none")
        session.save_changes()
        return session.load("users/2-A", User)


@step
def conditional_load(store: Any) -> Any:
    with store.open_session() as session:
        user = session.load("users/1-A", User)
        vector = session.advanced.get_change_vector_for(user)
        exists = session.advanced.exists("users/1-A"), session.advanced.exists("users/none")
    with store.open_session() as session:
        again = session.advanced.conditional_load("users/1-A", vector, User)
        other = session.advanced.conditional_load("users/1-A", vector.replace("A:", "A:9"), User)
        return exists, again.entity, shown(other.entity), other.change_vector.strip('"') == vector


@step
def numbered_ids(store: Any) -> Any:
    """Ids that the server completes."""
    with store.open_session() as session:
        users = [User("first", 1), User("second", 2)]
        session.store(users[0], "members|")
        session.store(users[1], "members/")
        session.save_changes()
        return [user.Id for user in users]


@step
def read_other_documents(store: Any) -> Any:
    """What RavenDB 3's client has stored."""
    with store.open_session() as session:
        user = session.load("users/of-3", User)
        metadata = session.advanced.get_metadata_for(user)
        return shown(user), metadata["@collection"], metadata["Owner"], "Raven-Entity-Name" in metadata


@step
def cached_load(store: Any) -> Any:
    """The client asks again with what it has, and is told that it is the same."""
    statuses: list[int] = []
    store.get_request_executor().add_on_succeed_request(lambda args: statuses.append(args.response.status_code))
    for _ in range(2):
        with store.open_session() as session:
            session.load("users/1-A", User)
    return statuses


@step
def cluster_transaction(store: Any) -> Any:
    from ravendb import SessionOptions, TransactionMode

    with store.open_session(session_options=SessionOptions(transaction_mode=TransactionMode.CLUSTER_WIDE)) as session:
        session.store(User("never", 1), "users/never")
        session.save_changes()


@step
def patch(store: Any) -> Any:
    with store.open_session() as session:
        session.advanced.increment("users/1-A", "age", 1)
        session.save_changes()


@step
def counters(store: Any) -> Any:
    with store.open_session() as session:
        return session.counters_for("users/1-A").get("likes")


@step
def missing_database(store: Any) -> Any:
    with DocumentStore(store.urls, "nowhere") as other:
        other.initialize()
        with other.open_session() as session:
            session.load("users/1-A", User)


def main(url: str, database: str) -> None:
    with DocumentStore([url], database) as store:
        store.initialize()
        for line in sys.stdin:
            name, *arguments = json.loads(line)
            try:
                told = {"result": STEPS[name](store, *arguments)}
            except Exception as error:
                told = {"error": type(error).__name__, "message": str(error)}
            print(json.dumps(told), flush=True)


main(*sys.argv[1:])
