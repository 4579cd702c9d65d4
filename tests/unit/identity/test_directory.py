"""The accounts behind an address."""

from __future__ import annotations

from inbox.identity.directory import KEPT_SECONDS, AddressDirectory
from inbox.mail.tenancy import Account, DomainOverrides, HostedDomain, Tenant
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import Reached

ACME = Tenant("org-acme", "acme")


def account(address: str) -> Account:
    return Account(f"id-{address}", ACME.id, address, "")


class Book:
    """Domains and addresses in dictionaries; notes what it is asked. ``disabled`` has disabled accounts."""

    def __init__(self, addresses: dict[str, list[Account]]) -> None:
        self.addresses = addresses
        self.active: dict[str, HostedDomain] = {}
        self.hosted_at_all: dict[str, HostedDomain] = {}
        self.disabled: dict[str, list[Account]] = {}
        self.outside: dict[str, tuple[str, ...]] = {}
        self.asked: list[str] = []

    async def domain(self, fqdn: str) -> HostedDomain | None:
        self.asked.append(fqdn)
        return self.active.get(fqdn)

    async def hosted(self, fqdn: str) -> HostedDomain | None:
        return self.hosted_at_all.get(fqdn)

    async def all(self) -> list[Tenant]:
        self.asked.append("organizations")
        return [each.tenant for each in self.active.values()]

    async def domains(self, tenant: str | None = None) -> list[HostedDomain]:
        self.asked.append(f"domains of {tenant}")
        return [each for each in self.active.values() if each.tenant.id == tenant]

    async def first(self, tenant: str) -> Account | None:
        self.asked.append(f"first of {tenant}")
        return next((each for found in self.addresses.values() for each in found if each.tenant == tenant), None)

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        assert tenant == ACME.id
        assert not active
        return self.disabled.get(address, [])

    async def reach(self, tenant: str, address: str) -> Reached:
        assert tenant == ACME.id
        self.asked.append(address)
        return Reached(tuple(self.addresses.get(address, ())), self.outside.get(address, ()))


def directory(book: Book, clock: FakeClock | None = None) -> AddressDirectory:
    return AddressDirectory(book, book, clock or FakeClock())


def domain(**overrides: object) -> HostedDomain:
    return HostedDomain(ACME, "acme.test", DomainOverrides(**overrides))  # type: ignore[arg-type]


ANN = account("ann@acme.test")


async def test_an_address_resolves_to_its_accounts() -> None:
    found = await directory(Book({"ann@acme.test": [ANN]})).accounts(domain(), "ann@acme.test")
    assert found == ((ANN,), None)


async def test_a_plus_address_resolves_to_the_account_with_its_detail() -> None:
    book = Book({"ann@acme.test": [ANN]})
    assert await directory(book).accounts(domain(), "ann+news+x@acme.test") == ((ANN,), "news+x")


async def test_an_address_of_its_own_wins_over_the_plus() -> None:
    special = account("ann+news@acme.test")
    book = Book({"ann@acme.test": [ANN], "ann+news@acme.test": [special]})
    assert await directory(book).accounts(domain(), "ann+news@acme.test") == ((special,), None)


async def test_plus_addressing_is_the_domains_own() -> None:
    book = Book({"ann@acme.test": [ANN]})
    assert await directory(book).accounts(domain(plus_addressing_enabled=False), "ann+x@acme.test") == ((), None)
    assert await directory(book).accounts(domain(plus_delimiter="-"), "ann-x@acme.test") == ((ANN,), "x")
    assert await directory(book).accounts(domain(plus_delimiter="-"), "ann+x@acme.test") == ((), None)


async def test_whether_there_is_a_tenant_is_asked_until_there_is_one() -> None:
    book = Book({})
    asked = directory(book)
    assert [await asked.is_empty(), await asked.is_empty()] == [True, True]
    book.active["acme.test"] = domain()
    assert [await asked.is_empty(), await asked.is_empty()] == [False, False]
    assert book.asked == ["organizations"] * 3


async def test_an_empty_local_part_before_the_plus_has_no_account() -> None:
    assert await directory(Book({"ann@acme.test": [ANN]})).accounts(domain(), "+x@acme.test") == ((), None)


async def test_the_catch_all_comes_last() -> None:
    bob, catcher = account("bob@acme.test"), account("office@acme.test")
    book = Book({"ann@acme.test": [ANN], "bob+x@acme.test": [bob], "@acme.test": [catcher]})
    book.disabled["zoe@acme.test"] = [account("zoe@acme.test")]
    found = {}
    for name in ("ann", "ann+x", "bob+x", "bob", "bob+y", "nobody", "+x", "zoe", "zoe+x", "postmaster"):
        accounts, detail = await directory(book).accounts(domain(), f"{name}@acme.test")
        found[name] = [each.address for each in accounts], detail
    office = (["office@acme.test"], None)
    assert found == {
        "ann": (["ann@acme.test"], None),
        "ann+x": (["ann@acme.test"], "x"),
        "bob+x": (["bob@acme.test"], None),
        "bob": office,
        "bob+y": office,
        "nobody": office,
        "+x": office,
        # A disabled account's mail waits for it, and is not shown to another user.
        "zoe": ([], None),
        "zoe+x": ([], None),
        # The policy says who reads it.
        "postmaster": ([], None),
    }


async def test_the_domains_postmaster_comes_before_its_catch_all() -> None:
    pam, catcher = account("pam@acme.test"), account("office@acme.test")
    book = Book({"pam@acme.test": [pam], "@acme.test": [catcher]})
    named = domain(postmaster="pam@acme.test")
    assert await directory(book).accounts(named, "postmaster@acme.test") == ((pam,), None)
    assert await directory(book).accounts(named, "other@acme.test") == ((catcher,), None)
    # An address of that name, and an account that is gone.
    book.addresses["postmaster@acme.test"] = [ANN]
    assert await directory(book).accounts(named, "postmaster@acme.test") == ((ANN,), None)
    gone = domain(postmaster="gone@acme.test")
    del book.addresses["postmaster@acme.test"]
    assert await directory(book).accounts(gone, "postmaster@acme.test") == ((), None)


async def test_a_disabled_account_is_distinguished_from_a_missing_one() -> None:
    book = Book({})
    book.disabled["zoe@acme.test"] = [account("zoe@acme.test")]
    asked = [await directory(book).is_disabled(domain(), f"{name}@acme.test") for name in ("zoe", "zoe+x", "nobody")]
    assert asked == [True, True, False]
    assert not await directory(book).is_disabled(domain(plus_addressing_enabled=False), "zoe+x@acme.test")


async def test_a_suspended_domain_is_distinguished_from_one_that_is_not_hosted() -> None:
    book = Book({})
    off = HostedDomain(ACME, "off.test", is_active=False)
    book.hosted_at_all = {
        "acme.test": domain(),
        "off.test": off,
        "umbra.test": HostedDomain(Tenant("org-umbra", "umbra", False), "umbra.test"),
    }
    found = [await directory(book).suspended(f"{name}.test") for name in ("acme", "off", "umbra", "nowhere")]
    assert found == [None, off, book.hosted_at_all["umbra.test"], None]


async def test_answers_are_cached_for_a_moment_but_misses_never() -> None:
    clock = FakeClock()
    book = Book({"ann@acme.test": [ANN]})
    book.active["acme.test"] = domain()
    looked = directory(book, clock)
    for _ in range(3):
        await looked.domain("acme.test")
        await looked.accounts(domain(), "ann@acme.test")
        await looked.accounts(domain(), "bob@acme.test")
    # That there is no bob, and no catch-all, is asked each time.
    assert book.asked == ["acme.test", "ann@acme.test", *["bob@acme.test", "@acme.test"] * 3]
    clock.advance(KEPT_SECONDS + 0.1)
    await looked.domain("acme.test")
    await looked.accounts(domain(), "ann@acme.test")
    assert book.asked[-2:] == ["acme.test", "ann@acme.test"]
    looked.forget()
    await looked.domain("acme.test")
    assert book.asked[-1] == "acme.test"


async def test_the_first_account_is_cached_for_a_moment_but_its_absence_is_not() -> None:
    clock, book = FakeClock(), Book({})
    asked = directory(book, clock)
    assert await asked.first_account(ACME.id) is None
    book.addresses["ann@acme.test"] = [ANN]
    assert await asked.first_account(ACME.id) == ANN
    assert await asked.first_account(ACME.id) == ANN
    assert book.asked == [f"first of {ACME.id}"] * 2
    clock.advance(KEPT_SECONDS + 0.1)
    assert await asked.first_account(ACME.id) == ANN
    assert len(book.asked) == 3


async def test_the_domain_that_answers_for_the_server() -> None:
    book = Book({})
    assert await directory(book).home("mx.acme.test") is None
    old, young = Tenant("o", "zoo", created_at=1.0), Tenant("y", "able", created_at=2.0)
    gone = Tenant("g", "gone", is_active=False)
    for tenant, fqdn, active in (
        (young, "young.test", True), (old, "z.old.test", True), (old, "a.old.test", False), (gone, "gone.test", True),
    ):  # fmt: skip
        book.active[fqdn] = HostedDomain(tenant, fqdn, is_active=active)
    found = await directory(book).home("mail.young.test")
    assert found is not None and found.fqdn == "young.test"
    found = await directory(book).home("mx.elsewhere.test")
    assert found is not None and found.fqdn == "z.old.test"


async def test_targets_outside_are_found_like_accounts() -> None:
    book = Book({"ann@acme.test": [account("ann@acme.test")]})
    book.outside = {"away@acme.test": ("ann@elsewhere.test",), "@acme.test": ("all@elsewhere.test",)}
    found = directory(book)

    async def forwards(key: str) -> tuple[tuple[str, ...], str | None]:
        reached, detail = await found.reach(domain(), key)
        return reached.forwards, detail

    assert await forwards("away@acme.test") == (("ann@elsewhere.test",), None)
    assert await forwards("away+shop@acme.test") == (("ann@elsewhere.test",), "shop")
    assert await forwards("ann@acme.test") == ((), None)
    assert await forwards("nobody@acme.test") == (("all@elsewhere.test",), None)


async def test_a_name_is_found_without_those_who_stand_in() -> None:
    book = Book({"@acme.test": [account("ann@acme.test")], "ann@acme.test": [account("ann@acme.test")]})
    found = directory(book)
    for key, names in (("ann@acme.test", 1), ("ann+x@acme.test", 1), ("bob@acme.test", 0), ("postmaster@acme.test", 0)):
        reached, _ = await found.named(domain(postmaster="ann@acme.test"), key)
        assert len(reached.accounts) == names, key


async def test_a_domain_elsewhere_is_remembered_for_a_moment() -> None:
    clock = FakeClock()
    found = directory(Book({}), clock)
    assert not found.is_elsewhere("far.test")
    found.note_elsewhere("far.test")
    assert found.is_elsewhere("far.test")
    clock.advance(KEPT_SECONDS + 0.1)
    assert not found.is_elsewhere("far.test")
    found.note_elsewhere("far.test")
    found.forget()
    assert not found.is_elsewhere("far.test")
