"""The commands of the protocol as methods. Each takes the fields of its command, and returns those of the reply."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Literal

from .values import Fields, random_key


class Calls:
    """The commands. :class:`trunkline_client.Trunkline` carries them out."""

    def __init__(self) -> None:
        self._watched: dict[str, None] = {}
        #: The last position of each topic.
        self._topics: dict[str, str | None] = {}
        #: Topics of which something may be missing, with what came since. It comes again behind the reply to
        #: ``subscribe``, or nothing does.
        self._behind: dict[str, list[Fields]] = {}

    async def _run(self, name: str, fields: Fields, **how: Any) -> Any:
        raise NotImplementedError

    async def _send_message(self, fields: Fields, lane: str) -> Any:
        raise NotImplementedError

    def _subscribed(self, topic: str, reply: Fields, since: str | None = None) -> None:
        raise NotImplementedError

    async def request(self, name: str, /, **fields: Any) -> Any:
        """Carries out a command by its name in the protocol."""
        return await self._run(name, fields)

    async def _fields(self, command: str, /, **fields: Any) -> Fields:
        reply: Fields = await self._run(command, fields)
        return reply

    async def send(
        self,
        *,
        user: str | None = None,
        group: str | None = None,
        text: str | None = None,
        media: Fields | None = None,
        reply_to: int | None = None,
        kind: str | None = None,
        meta: Any = None,
        mentions: Iterable[str] = (),
        ttl: str | None = None,
        key: str | None = None,
    ) -> Fields:
        """Sends a message to a user or a group. Returns when it is durable. ``ttl``, such as ``1h``: it expires after that."""
        fields: Fields = {"user": user, "group": group, "key": key or random_key(), "text": text, "media": media}
        fields.update(reply_to=reply_to, kind=kind, meta=meta, mentions=list(mentions) or None, ttl=ttl)
        reply: Fields = await self._send_message(fields, f"u:{user}" if group is None else f"g:{group}")
        return reply

    async def receipts(
        self,
        conversation: str,
        seq: int,
        state: Literal["read", "delivered", "unread"],
        *,
        after: str | None = None,
        limit: int | None = None,
    ) -> Fields:
        """Says how far a message has come."""
        return await self._fields("receipts", conversation=conversation, seq=seq, state=state, after=after, limit=limit)

    async def sync(self, since: str, *, limit: int | None = None) -> Fields:
        """Returns a page of the events after a position."""
        return await self._fields("sync", since=since, limit=limit)

    async def history(
        self,
        conversation: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        thread: int | None = None,
    ) -> Fields:
        """Returns a page of the messages of a conversation."""
        page = {"before": before, "after": after, "limit": limit, "thread": thread}
        return await self._fields("history", conversation=conversation, **page)

    async def get(self, conversation: str, seq: int) -> Fields:
        """Returns one message."""
        return await self._fields("get", conversation=conversation, seq=seq)

    async def conversations(self, *, after: str | None = None, limit: int | None = None) -> Fields:
        """Returns a page of the conversations of the user, the newest first."""
        return await self._fields("conversations", after=after, limit=limit)

    async def search(
        self, text: str, *, conversation: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Fields:
        """Returns a page of the messages with all words of a text, the newest first."""
        return await self._fields("search", text=text, conversation=conversation, after=after, limit=limit)

    async def group_create(
        self,
        group: str,
        *,
        name: str | None = None,
        members: Iterable[str] = (),
        history: Literal["all", "joined"] | None = None,
        key: str | None = None,
    ) -> Fields:
        """Creates a group."""
        return await self._fields(
            "group_create", group=group, name=name, members=list(members), history=history, key=key or random_key()
        )

    async def group_add(self, group: str, members: Iterable[str]) -> Fields:
        """Adds members."""
        return await self._fields("group_add", group=group, members=list(members))

    async def group_remove(self, group: str, members: Iterable[str]) -> Fields:
        """Removes members."""
        return await self._fields("group_remove", group=group, members=list(members))

    async def group_leave(self, group: str) -> Fields:
        """Leaves a group."""
        return await self._fields("group_leave", group=group)

    async def group_rename(self, group: str, name: str) -> Fields:
        """Gives a group another name."""
        return await self._fields("group_rename", group=group, name=name)

    async def group_info(self, group: str, *, after: str | None = None, limit: int | None = None) -> Fields:
        """Returns what there is to know of a group, with a page of its members."""
        return await self._fields("group_info", group=group, after=after, limit=limit)

    async def group_role(self, group: str, user: str, role: Literal["member", "admin", "owner"]) -> Fields:
        """Gives a member another role."""
        return await self._fields("group_role", group=group, user=user, role=role)

    async def group_set(
        self,
        group: str,
        *,
        name: str | None = None,
        picture: str | None = None,
        send: Literal["all", "admins"] | None = None,
        join: Literal["invite", "open"] | None = None,
    ) -> Fields:
        """Changes what it names: the name, the picture, who may send, who may join."""
        return await self._fields("group_set", group=group, name=name, picture=picture, send=send, join=join)

    async def group_join(self, group: str) -> Fields:
        """Joins an open group."""
        return await self._fields("group_join", group=group)

    async def settings(
        self,
        conversation: str,
        *,
        muted_until: int | None = None,
        pinned: bool | None = None,
        archived: bool | None = None,
    ) -> Fields:
        """Changes the own settings of a conversation. ``muted_until`` is a time in milliseconds; 0 is not muted."""
        return await self._fields(
            "settings", conversation=conversation, muted_until=muted_until, pinned=pinned, archived=archived
        )

    async def pin(self, conversation: str, seq: int) -> Fields:
        """Pins a message of a group for all members."""
        return await self._fields("pin", conversation=conversation, seq=seq)

    async def unpin(self, conversation: str, seq: int) -> Fields:
        """Takes a message from the pinned ones."""
        return await self._fields("unpin", conversation=conversation, seq=seq)

    async def edit(
        self, conversation: str, seq: int, *, text: str | None = None, media: Fields | None = None, meta: Any = None
    ) -> Fields:
        """Replaces the content of an own message."""
        return await self._fields("edit", conversation=conversation, seq=seq, text=text, media=media, meta=meta)

    async def recall(self, conversation: str, seq: int) -> Fields:
        """Takes an own message back."""
        return await self._fields("recall", conversation=conversation, seq=seq)

    async def delete(self, conversation: str, seq: int) -> Fields:
        """Deletes a message from the own view."""
        return await self._fields("delete", conversation=conversation, seq=seq)

    async def react(self, conversation: str, seq: int, reaction: str, *, remove: bool = False) -> Fields:
        """Reacts to a message, or takes that back."""
        return await self._fields("react", conversation=conversation, seq=seq, reaction=reaction, remove=remove or None)

    async def reactions(
        self, conversation: str, seq: int, *, reaction: str | None = None, after: str | None = None, limit: int | None = None
    ) -> Fields:
        """Says who reacted to a message."""
        return await self._fields(
            "reactions", conversation=conversation, seq=seq, reaction=reaction, after=after, limit=limit
        )

    async def contacts(
        self,
        *,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        watch: bool = False,
        after: str | None = None,
        limit: int | None = None,
    ) -> Fields:
        """Changes and returns the contacts of the user."""
        return await self._fields(
            "contacts", add=list(add) or None, remove=list(remove) or None, watch=watch or None, after=after, limit=limit
        )

    async def block(self, user: str) -> Fields:
        """Accepts nothing from a user from now on."""
        return await self._fields("block", user=user)

    async def unblock(self, user: str) -> Fields:
        """Accepts what a blocked user sends from now on."""
        return await self._fields("unblock", user=user)

    async def blocked(self, *, after: str | None = None, limit: int | None = None) -> Fields:
        """Returns a page of the users that are blocked."""
        return await self._fields("blocked", after=after, limit=limit)

    async def presence(
        self, *, watch: Iterable[str] = (), unwatch: Iterable[str] = (), query: Iterable[str] = ()
    ) -> Fields:
        """Asks who is online. What is watched is watched again in later sessions."""
        fields = {"watch": list(watch), "unwatch": list(unwatch), "query": list(query)}
        self._watched.update(dict.fromkeys(fields["watch"]))
        for user in fields["unwatch"]:
            self._watched.pop(user, None)
        return await self._fields("presence", **{name: users for name, users in fields.items() if users})

    async def signal(self, user: str, data: Any) -> Fields:
        """Hands something to the devices of a user that are online."""
        return await self._fields("signal", user=user, data=data)

    async def subscribe(self, topic: str, since: str | None = None) -> Fields:
        """Subscribes to a topic, in later sessions too."""
        fields = {"topic": topic, "since": since}
        # Before the publications that follow the reply.
        reply: Fields = await self._run("subscribe", fields, first=partial(self._subscribed, topic))
        return reply

    async def unsubscribe(self, topic: str) -> Fields:
        """Ends what :meth:`subscribe` began."""
        self._topics.pop(topic, None)
        self._behind.pop(topic, None)
        return await self._fields("unsubscribe", topic=topic)

    async def publish(self, topic: str, data: Any) -> Fields:
        """Publishes to a topic."""
        return await self._fields("publish", topic=topic, data=data)

    async def rpc(self, method: str, data: Any) -> Any:
        """Asks a back end of the operator, and returns its data."""
        return (await self._fields("rpc", method=method, data=data))["data"]

    async def ping(self) -> Fields:
        """Asks whether the gateway is there."""
        return await self._fields("ping")
