"""Encrypted and signed backups: what opens them and what does not, and what their folders tell an onlooker."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from muniment import DocumentDatabase, MaintenanceActions
from muniment.backup import wrapped_keys
from muniment.backup.manifest import NAME, Parent, digest, encode
from muniment.backup.repository import SIGNATURE, Backup, backups, read
from muniment.errors import BadSignature, Conflict, DamagedBackup, MunimentError, UnknownFormat, WrongKey
from muniment.rehearsal import rehearse
from muniment.security.keyring import Keyring, Protection
from muniment.security.recipients import (
    MOST_LANES,
    MOST_MEMORY_KIB,
    MOST_PASSES,
    ForPassphrase,
    ForRecipient,
    Identity,
    Key,
    Passphrase,
    Stretched,
    Wrapped,
)
from muniment.security.signature import SigningKey
from tests.backup.state import opened, seen_by_readers

CHEAP = Stretched(b"s" * 16, memory_kib=64, passes=1, lanes=1)
PASSPHRASE = Passphrase("correct horse", CHEAP)
IDENTITY = Identity(b"i" * 32)
KEY = Key(b"k" * 32)
ALL = Protection((PASSPHRASE, KEY, IDENTITY.recipient))
RING = Keyring((IDENTITY,))
STRANGER = Identity(b"e" * 32)
SIGNING_KEY = SigningKey(b"s" * 32)
SIGNED = Protection((IDENTITY.recipient,), SIGNING_KEY)
TRUSTING = Keyring((IDENTITY,), (SIGNING_KEY.signer,))
Manual = dict[str, Any]


@pytest.fixture
def place(small: DocumentDatabase, tmp_path: Path) -> Path:
    """A folder with an encrypted full backup and an incremental one."""
    place = tmp_path / "backups"
    small.maintenance.start_backup(place, protection=ALL).wait()
    small.put("orders/1", {"secret": "sunflower"}, {"Raven-Entity-Name": "Orders"})
    small.delete("orders/2")
    small.put("late/1", {"late": "marigold"}, {"Raven-Entity-Name": "Latecomers"})
    small.put_attachment("photos/9", b"hyacinth" * 50)
    secrets = Protection((PASSPHRASE, KEY))
    assert small.maintenance.start_backup(place, incremental=True, protection=secrets).wait().manifest.kind != "full"
    return place


def _files(place: Path) -> Iterator[Path]:
    yield from (path for path in sorted(place.rglob("*")) if path.is_file())


def _rewritten(folder: Path, change: Any) -> None:
    """Change a manifest as somebody would who knows how checksums are made, but no keys."""
    path = folder / NAME
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["checksum"] = "0" * 64
    text = msgspec.json.format(json.dumps(manifest, ensure_ascii=False).encode(), indent=2) + b"\n"
    path.write_bytes(text.replace(b"0" * 64, digest(text).encode()))


@pytest.mark.parametrize("identity", [Passphrase("correct horse"), KEY, IDENTITY])
def test_what_it_was_encrypted_for_restores_it_on_another_machine(
    place: Path, small: DocumentDatabase, tmp_path: Path, identity: Any
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place, elsewhere)
    shutil.rmtree(place)
    restored = MaintenanceActions.restore(elsewhere, tmp_path / "restored", keyring=Keyring((identity,)))
    assert restored.fingerprint == small.storage.snapshot().fingerprint
    with opened(tmp_path / "restored") as database:
        assert seen_by_readers(database) == seen_by_readers(small)
        assert database.storage.settings == small.storage.settings


def test_a_key_of_its_own_for_each_backup_and_one_salt_for_a_chain(place: Path) -> None:
    full, incremental = backups(place, RING)
    assert full.key is not None
    assert incremental.key is not None
    assert full.key != incremental.key
    assert {type(each) for each in full.wrapped_keys().recipients} == {
        type(each) for each in incremental.wrapped_keys().recipients
    }
    assert [each.name for each in full.wrapped_keys().recipients] == [
        each.name for each in incremental.wrapped_keys().recipients
    ]


def test_no_file_has_plain_text_of_what_was_backed_up(place: Path, small: DocumentDatabase) -> None:
    small.storage.configure({"Raven/Secret": "lavender"})
    small.maintenance.start_backup(place, protection=Protection((PASSPHRASE, KEY))).wait()
    with pytest.raises(MunimentError):
        MaintenanceActions.restore(place, place.parent / "restored")
    MaintenanceActions.verify(place, keyring=RING)
    rehearse(place, keyring=RING)
    words = ["Orders", "orders/1", "companies", "Zajazd", "sunflower", "marigold", "late/1", "Latecomers", "photos"]
    words += ["hyacinth", "lavender", "Raven/Secret", "image/png", "Raven-Entity-Name", "price", "etag_dictionary"]
    found = small.storage.snapshot().fingerprint
    words += [f"{tally.digest:064x}" for tally in found.tallies.values()]
    for path in _files(place):
        text = path.read_bytes()
        for word in words:
            assert word.encode() not in text, f"{word} in {path.name}"
            assert base64.b64encode(word.encode()).rstrip(b"=")[:-1] not in text
        assert b"PAR1" not in text


def test_the_same_words_are_found_in_a_plain_backup(small: DocumentDatabase, tmp_path: Path) -> None:
    small.maintenance.start_backup(tmp_path / "plain").wait()
    everything = b"".join(path.read_bytes() for path in _files(tmp_path / "plain"))
    assert b"Orders" in everything
    assert b"PAR1" in everything


@pytest.mark.parametrize("identity", [None, Passphrase("wrong horse"), Key(b"x" * 32), Identity(b"x" * 32)])
def test_without_the_right_key_nothing_is_read_and_nothing_touched(place: Path, tmp_path: Path, identity: Any) -> None:
    keyring = Keyring((identity,) if identity else ())
    for found in backups(place, keyring):
        assert found.locked is not None
        assert found.key is None
        assert found.manifest.closed
        assert found.manifest.fingerprint == {"documents": {}, "attachments": {}}
    target = tmp_path / "restored"
    attempts: list[Callable[[], object]] = [
        lambda: MaintenanceActions.restore(place, target, keyring=keyring),
        lambda: MaintenanceActions.query(place, "SELECT * FROM documents", keyring=keyring),
        lambda: MaintenanceActions.version(place, "orders/1", keyring=keyring),
        lambda: MaintenanceActions.merge(place, backups(place)[-1].name, keyring=keyring),
        lambda: rehearse(place, keyring=keyring),
    ]
    before = {path: path.read_bytes() for path in _files(place)}
    for attempt in attempts:
        with pytest.raises(WrongKey) as caught:
            attempt()
        assert str(IDENTITY.recipient) in str(caught.value)
        assert "correct" not in str(caught.value)
    assert not target.exists()
    assert {path: path.read_bytes() for path in _files(place)} == before


def test_who_has_only_a_recipient_can_go_on_and_not_read(small: DocumentDatabase, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    small.maintenance.start_backup(place, protection=Protection((IDENTITY.recipient,))).wait()
    small.put("more", {"n": 1})
    mine = Protection((IDENTITY.recipient,))
    taken = small.maintenance.start_backup(place, incremental=True, protection=mine).wait()
    assert taken.manifest.kind == "incremental"
    assert [found.manifest.encryption is not None for found in backups(place)] == [True, True]
    before = list(_files(place))
    for incremental in (False, True):  # for whom the last one is, only its folder says, where anybody may have written
        with pytest.raises(WrongKey, match="name the recipients"):
            small.maintenance.start_backup(place, incremental=incremental).wait()
    assert list(_files(place)) == before
    small.maintenance.start_backup(place, protection=mine).wait()
    assert backups(place)[-1].manifest.encryption is not None
    restored = MaintenanceActions.restore(place, tmp_path / "restored", keyring=RING)
    assert restored.fingerprint == small.storage.snapshot().fingerprint


def test_a_backup_that_cannot_be_encrypted_as_the_others_are_is_none(place: Path, small: DocumentDatabase) -> None:
    before = list(_files(place))
    for given in ((), (Passphrase("wrong horse"),), (IDENTITY.recipient, Passphrase("wrong horse"))):
        with pytest.raises(WrongKey):
            small.maintenance.start_backup(place, incremental=True, protection=Protection(given)).wait()
    with pytest.raises(WrongKey, match="name the recipients"):
        small.maintenance.start_backup(place).wait()
    with pytest.raises(WrongKey, match="passphrase"):
        small.maintenance.start_backup(place, protection=Protection((KEY,))).wait()
    assert list(_files(place)) == before


def _names_himself(backup: Backup) -> None:
    """What somebody does who may write to the folder, and has no key: he adds himself to those it is for."""
    path = backup.folder / wrapped_keys.NAME
    keys = msgspec.json.decode(path.read_bytes(), type=wrapped_keys.WrappedKeys)
    mine = ForRecipient(str(STRANGER.recipient), b"?" * 80)
    path.write_bytes(msgspec.structs.replace(keys, recipients=(*keys.recipients, mine)).encoded())


@pytest.mark.parametrize("incremental", [True, False])
def test_who_writes_himself_into_a_folder_reads_no_later_backup(
    place: Path, small: DocumentDatabase, incremental: bool
) -> None:
    for backup in backups(place):
        _names_himself(backup)
    before = list(_files(place))
    for given in ((), (PASSPHRASE,), (PASSPHRASE, KEY)):
        with pytest.raises((WrongKey, DamagedBackup)):
            small.maintenance.start_backup(place, incremental=incremental, protection=Protection(given)).wait()
    with pytest.raises(DamagedBackup, match="has not got the data key"):
        small.maintenance.start_backup(place, protection=Protection((PASSPHRASE,))).wait()
    assert list(_files(place)) == before
    for keyring in (RING, Keyring((PASSPHRASE,))):
        with pytest.raises(DamagedBackup, match=wrapped_keys.NAME):
            read(backups(place)[0].folder, keyring)
    named = Protection((IDENTITY.recipient,))
    taken = small.maintenance.start_backup(place, incremental=incremental, protection=named).wait()
    assert [each.name for each in taken.wrapped_keys().recipients] == [str(IDENTITY.recipient)]


def test_a_backup_that_the_database_does_not_remember_says_not_for_whom_the_next_is(
    place: Path, small: DocumentDatabase, tmp_path: Path
) -> None:
    MaintenanceActions.restore(place, tmp_path / "copy", keyring=RING)
    with DocumentDatabase(tmp_path / "copy") as copy:
        with pytest.raises(WrongKey, match="name the recipients"):
            copy.maintenance.start_backup(place).wait()
        taken = copy.maintenance.start_backup(place, protection=Protection((PASSPHRASE,))).wait()
        assert {type(each) for each in taken.wrapped_keys().recipients} == {ForPassphrase}
        assert any(str(IDENTITY.recipient) in note and "--recipient" in note for note in taken.notes)
        again = copy.maintenance.start_backup(place, incremental=True, protection=Protection((PASSPHRASE,))).wait()
    assert not any("--recipient" in note for note in again.notes)


def test_a_whole_forged_backup_for_the_same_and_himself_says_not_for_whom_the_next_is(
    small: DocumentDatabase, tmp_path: Path
) -> None:
    place, mine = tmp_path / "backups", Protection((IDENTITY.recipient,))
    genuine = small.maintenance.start_backup(place, protection=mine).wait()
    with DocumentDatabase(tmp_path / "his") as his:
        his.put("evil", {})
        both = Protection((IDENTITY.recipient, STRANGER.recipient))
        forged = his.maintenance.start_backup(tmp_path / "forged", protection=both).wait()
    key = read(forged.folder, Keyring((STRANGER,))).key
    text = encode(msgspec.structs.replace(forged.manifest, database=genuine.manifest.database, encryption=None), key)
    (forged.folder / NAME).write_bytes(text)
    shutil.move(forged.folder, place)
    assert read(place / forged.name, RING).key == key
    with pytest.raises(WrongKey, match="name the recipients"):
        small.maintenance.start_backup(place).wait()


def test_a_merged_backup_is_for_those_alone_who_could_open_all_that_went_into_it(
    small: DocumentDatabase, tmp_path: Path
) -> None:
    place = tmp_path / "backups"
    small.maintenance.start_backup(place, protection=Protection((IDENTITY.recipient,))).wait()
    both = Protection((IDENTITY.recipient, STRANGER.recipient))
    small.put("more", {"n": 1})
    last = small.maintenance.start_backup(place, incremental=True, protection=both).wait()
    merged = MaintenanceActions.merge(place, last.name, keyring=RING)
    assert [each.name for each in merged.wrapped_keys().recipients] == [str(IDENTITY.recipient)]
    small.put("yet more", {"n": 1})
    only = Protection((STRANGER.recipient,))
    last = small.maintenance.start_backup(place, incremental=True, protection=only).wait()
    with pytest.raises(WrongKey, match="no recipient could open all"):
        MaintenanceActions.merge(place, last.name, keyring=Keyring((IDENTITY, STRANGER)))


def test_who_is_named_counts_alone(place: Path, small: DocumentDatabase, tmp_path: Path) -> None:
    other = Identity(b"o" * 32)
    taken = small.maintenance.start_backup(place, protection=Protection((other.recipient,))).wait()
    assert [each.name for each in taken.wrapped_keys().recipients] == [str(other.recipient)]
    with pytest.raises(WrongKey):
        MaintenanceActions.restore(place, tmp_path / "restored", keyring=RING)
    MaintenanceActions.restore(place, tmp_path / "restored", keyring=Keyring((other,)))


def test_a_chain_is_encrypted_as_a_whole_or_not_at_all(small: DocumentDatabase, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    small.maintenance.start_backup(place).wait()
    small.put("a", {"n": 1})
    mine = Protection((IDENTITY.recipient,))
    encrypted = small.maintenance.start_backup(place, incremental=True, protection=mine).wait()
    assert encrypted.manifest.kind == "full"
    assert encrypted.manifest.reason == "to be encrypted, which the backups there are not"
    small.put("b", {"n": 1})
    plain = small.maintenance.start_backup(place, incremental=True, protection=Protection(in_clear=True)).wait()
    assert (plain.manifest.kind, plain.manifest.format, plain.manifest.encryption) == ("full", 2, None)
    with pytest.raises(DamagedBackup, match="is in clear"):
        MaintenanceActions.verify(place, keyring=RING, record=False)
    both = msgspec.structs.replace(RING, allow_clear=True)
    assert MaintenanceActions.verify(place, keyring=both).unproven == ()


def _in_clear(place: Path, victim: Backup, parent: Backup | None = None) -> Backup:
    """A whole plain backup by somebody without any key, dressed as the victim's from what its manifest shows."""
    with DocumentDatabase(place.parent / "his") as his:
        his.put("evil", {})
        taken = his.maintenance.start_backup(place.parent / "forged").wait()
    manifest = msgspec.structs.replace(taken.manifest, database=victim.manifest.database)
    if parent:
        through = parent.manifest.through
        manifest = msgspec.structs.replace(
            manifest,
            kind="incremental",
            parent=Parent(parent.name, parent.sha256),
            after=through,
            through=through + 1,
            snapshot=msgspec.structs.replace(manifest.snapshot, etag=through + 1),
            files=tuple(
                msgspec.structs.replace(file, first_etag=through + 1, last_etag=through + 1) for file in manifest.files
            ),
        )
    (taken.folder / NAME).write_bytes(encode(manifest))
    shutil.move(taken.folder, place)
    return read(place / taken.name)


def test_a_backup_in_clear_is_no_use_to_who_has_a_key_unless_he_asks_for_it(place: Path, tmp_path: Path) -> None:
    forged = _in_clear(place, backups(place)[-1])
    target = tmp_path / "restored"
    attempts: list[Callable[[Keyring], object]] = [
        lambda keyring: MaintenanceActions.restore(place, target, keyring=keyring),
        lambda keyring: MaintenanceActions.restore(place / forged.name, target, keyring=keyring),
        lambda keyring: MaintenanceActions.verify(place, keyring=keyring, record=False),
        lambda keyring: MaintenanceActions.query(place, "SELECT * FROM documents", keyring=keyring),
        lambda keyring: MaintenanceActions.version(place, "evil", keyring=keyring),
        lambda keyring: rehearse(place, keyring=keyring),
    ]
    for identity in (PASSPHRASE, KEY, IDENTITY):
        for attempt in attempts:
            with pytest.raises(BadSignature if attempt != attempts[2] else DamagedBackup) as caught:
                attempt(Keyring((identity,)))
            assert f"{forged.name}" in caught.value.message
            assert "is in clear" in caught.value.message
    assert "--allow-clear" in read_error(forged.folder).hint
    assert not target.exists()
    genuine = backups(place, RING)[-1]
    assert MaintenanceActions.restore(place, target, backup=genuine.name, keyring=RING).backup == genuine
    asked = Keyring((IDENTITY,), allow_clear=True)
    restored = MaintenanceActions.restore(place, tmp_path / "asked", backup=forged.name, keyring=asked)
    assert restored.backup == forged


def test_a_backup_in_clear_does_not_switch_encryption_off(place: Path, small: DocumentDatabase) -> None:
    genuine = backups(place)[-1]
    forged = _in_clear(place, genuine)
    for incremental in (True, False):
        with pytest.raises(WrongKey, match="--in-clear"):
            small.maintenance.start_backup(place, incremental=incremental).wait()
        given = Protection((PASSPHRASE, KEY))
        taken = small.maintenance.start_backup(place, incremental=incremental, protection=given).wait()
        assert len(taken.wrapped_keys().recipients) == 3  # those of the one that the database has written
    for backup in backups(place):  # that only the database remembers that they were encrypted
        if backup.folder != forged.folder:
            shutil.rmtree(backup.folder)
    for elsewhere in (place, place.parent / "elsewhere"):
        with pytest.raises(WrongKey, match="--in-clear"):
            small.maintenance.start_backup(elsewhere, new_chain=True).wait()
    assert not (place.parent / "elsewhere").exists()
    assert small.maintenance.start_backup(place, in_clear=True).wait().manifest.encryption is None
    small.maintenance.start_backup(place).wait()  # it was said of this folder, and no other is encrypted


def read_error(folder: Path) -> MunimentError:
    with pytest.raises(BadSignature) as caught:
        read(folder, RING)
    return caught.value


def test_a_chain_of_two_kinds_is_refused_whoever_asks(place: Path, tmp_path: Path) -> None:
    last = backups(place)[-1]
    forged = _in_clear(place, last, parent=last)
    for keyring in (Keyring(), msgspec.structs.replace(RING, allow_clear=True)):
        for attempt in (
            lambda keyring: MaintenanceActions.restore(place, tmp_path / "x", backup=forged.name, keyring=keyring),
            lambda keyring: MaintenanceActions.verify(place, keyring=keyring, record=False),
        ):
            with pytest.raises(DamagedBackup, match="one kind") as caught:
                attempt(keyring)
            assert str(forged.folder) in caught.value.message
    assert not (tmp_path / "x").exists()


def test_merging_does_not_make_a_chain_of_two_kinds(small: DocumentDatabase, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    small.maintenance.start_backup(place).wait()
    names = []
    for n in range(2):
        small.put("more", {"n": n})
        names.append(small.maintenance.start_backup(place, incremental=True).wait().name)
    mine = Protection((IDENTITY.recipient,))
    with pytest.raises(Conflict, match="as a whole"):
        MaintenanceActions.merge(place, names[0], protection=mine, delete_merged=True)
    assert len(backups(place)) == 3
    MaintenanceActions.merge(place, names[1], protection=mine, delete_merged=True)
    MaintenanceActions.verify(place, keyring=RING)


def test_beside_one_that_nobody_can_open_any_more_none_is_plain_by_chance(
    place: Path, small: DocumentDatabase, tmp_path: Path
) -> None:
    for found in backups(place):
        (found.folder / wrapped_keys.NAME).write_bytes(b"{}")
    with pytest.raises(WrongKey, match="encrypted"):
        small.maintenance.start_backup(place).wait()
    small.maintenance.start_backup(place, protection=Protection((IDENTITY.recipient,))).wait()
    MaintenanceActions.restore(place, tmp_path / "restored", keyring=RING)


def test_verifying_without_a_key_compares_the_files_and_says_what_it_cannot_prove(place: Path) -> None:
    verified = MaintenanceActions.verify(place)
    assert len(verified.unproven) == 2
    assert any("only its files" in note for note in verified.notes)
    assert verified.record is None
    assert verified.unrecorded is not None
    with pytest.raises(WrongKey):
        _ = verified.fingerprint
    whole = MaintenanceActions.verify(place, keyring=RING)
    assert whole.unproven == ()
    assert whole.record is not None
    assert whole.fingerprint == backups(place, RING)[-1].manifest.fingerprint_at_snapshot()
    for path in _files(place):
        if path.suffix == ".parquet" or path.name == "Database.Document":
            text = path.read_bytes()
            path.write_bytes(text[:-40] + bytes([text[-40] ^ 1]) + text[-39:])
            for keyring in (Keyring(), RING):
                with pytest.raises(DamagedBackup, match=path.name):
                    MaintenanceActions.verify(place, keyring=keyring, record=False)
            path.write_bytes(text)


def test_flipped_bits_are_found_even_where_the_hashes_were_made_to_agree(place: Path, tmp_path: Path) -> None:
    full = backups(place)[0]
    victim = next(path for path in _files(full.folder) if path.name.startswith("documents"))
    text = bytearray(victim.read_bytes())
    text[len(text) // 2] ^= 1
    victim.write_bytes(bytes(text))

    def agree(manifest: Manual) -> None:
        file = next(file for file in manifest["files"] if file["name"] == victim.name)
        file["sha256"] = digest(bytes(text))

    _rewritten(full.folder, agree)
    assert backups(place).unusable == ()  # to whoever has no key it looks right
    with pytest.raises(DamagedBackup, match="does not have its data key"):
        read(full.folder, RING)
    with pytest.raises(DamagedBackup):
        MaintenanceActions.restore(place, tmp_path / "restored", keyring=RING)


@pytest.mark.parametrize("name", ["../evil.parquet", "documents-1.parquet/../../x", "/etc/passwd", "documents-..\\1"])
def test_a_name_that_leads_out_of_the_backup_is_refused(place: Path, name: str) -> None:
    full = backups(place)[0]

    def lead_out(manifest: Manual) -> None:
        manifest["files"][0]["name"] = name

    _rewritten(full.folder, lead_out)
    for keyring in (Keyring(), RING):
        with pytest.raises(DamagedBackup, match="cannot be trusted"):
            read(full.folder, keyring)


def test_every_flipped_byte_of_the_wrapped_keys_is_found(place: Path) -> None:
    path = backups(place)[0].folder / wrapped_keys.NAME
    text = path.read_bytes()
    for position in range(len(text)):
        path.write_bytes(text[:position] + bytes([text[position] ^ 1]) + text[position + 1 :])
        with pytest.raises((DamagedBackup, UnknownFormat)):
            read(path.parent, RING)
    path.write_bytes(text.replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(UnknownFormat):
        read(path.parent)
    path.unlink()
    with pytest.raises(DamagedBackup, match="missing"):
        read(path.parent, RING)


def _planted(keys: wrapped_keys.WrappedKeys, what: str) -> wrapped_keys.WrappedKeys:
    first = keys.recipients[0]
    assert isinstance(first, ForPassphrase)
    match what:
        case "passphrases":
            many = [Stretched(bytes([n]) * 16, memory_kib=64) for n in range(wrapped_keys.MOST_PASSPHRASES + 1)]
            planted: tuple[Wrapped, ...] = tuple(ForPassphrase(how, first.wrapped) for how in many)
        case "bytes":
            planted = (ForRecipient("x" * wrapped_keys.MOST_BYTES, first.wrapped),)
        case _:
            cost = {"memory_kib": MOST_MEMORY_KIB + 1, "passes": MOST_PASSES + 1, "lanes": MOST_LANES + 1}[what]
            planted = (ForPassphrase(msgspec.structs.replace(first.argon2id, **{what: cost}), first.wrapped),)
    return msgspec.structs.replace(keys, recipients=planted)


@pytest.mark.parametrize("what", ["memory_kib", "passes", "lanes", "passphrases", "bytes"])
def test_wrapped_keys_that_ask_for_too_much_are_refused_before_anything_is_tried(
    place: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = backups(place)[0].folder / wrapped_keys.NAME
    keys = msgspec.json.decode(path.read_bytes(), type=wrapped_keys.WrappedKeys)
    path.write_bytes(_planted(keys, what).encoded())
    tried: list[object] = []
    monkeypatch.setattr("muniment.security.recipients._stretch", lambda *how: tried.append(how))
    with pytest.raises(DamagedBackup, match=what) as caught:
        read(path.parent, Keyring((Passphrase("any"),)))
    assert str(path) in caught.value.message
    assert tried == []


def test_wrapped_keys_of_another_backup_are_refused(place: Path) -> None:
    full, incremental = backups(place)
    (full.folder / wrapped_keys.NAME).write_bytes((incremental.folder / wrapped_keys.NAME).read_bytes())
    with pytest.raises(DamagedBackup, match="another backup"):
        read(full.folder, RING)


def test_a_moment_in_between_a_version_a_query_and_a_merge_of_encrypted_backups(
    place: Path, small: DocumentDatabase, tmp_path: Path
) -> None:
    full, last = backups(place, RING)
    before = MaintenanceActions.version(place, "orders/1", backup=full.name, keyring=RING)
    after = MaintenanceActions.version(place, "ORDERS/1", keyring=RING)
    assert before is not None
    assert after is not None
    assert after.body == b'{"secret":"sunflower"}' != before.body
    answer = MaintenanceActions.query(place, "SELECT id FROM documents ORDER BY id", keyring=RING)
    assert ("late/1",) in answer.rows
    assert ("orders/2",) not in answer.rows
    merged = MaintenanceActions.merge(place, last.name, keyring=Keyring((PASSPHRASE, KEY)), delete_merged=True)
    assert merged.manifest.encryption is not None
    assert len(merged.wrapped_keys().recipients) == 3
    assert len(backups(place)) == 1
    restored = MaintenanceActions.restore(place, tmp_path / "restored", keyring=RING)
    assert restored.fingerprint == small.storage.snapshot().fingerprint


def test_restoring_into_a_database_and_comparing_moments_take_a_key_too(place: Path, small: DocumentDatabase) -> None:
    full = backups(place)[0]
    with pytest.raises(WrongKey):
        small.maintenance.restore_into(place, on_conflict="overwrite", backup=full.name)
    small.maintenance.restore_into(place, on_conflict="overwrite", backup=full.name, keyring=RING)
    assert small.get("orders/2") is not None
    assert small.get("late/1") is None
    found = MaintenanceActions.differences(place, full.name, backups(place)[1].name, keyring=RING)
    assert {id for changes in found.changes for id in changes.added} == {"late/1", "photos/9"}


def test_what_is_restored_only_to_be_compared_is_not_in_clear(place: Path, tmp_path: Path) -> None:
    words = [word.encode() for word in ("orders/1", "companies", "sunflower", "marigold", "hyacinth")]

    def in_clear() -> list[str]:
        return [path.name for path in _files(tmp_path / "empty") if any(word in path.read_bytes() for word in words)]

    with (
        DocumentDatabase(tmp_path / "empty") as empty,
        empty.maintenance.compare(place, other_database=True, keyring=RING) as comparison,
    ):
        assert list((tmp_path / "empty").glob("restoring-*/moment/muniment.db"))
        assert in_clear() == []
        comparison.write("skip")
        assert empty.get("late/1") is not None
        assert in_clear() != []  # the database itself is


def test_a_child_process_encrypts_and_opens_as_this_one_does(small: DocumentDatabase, tmp_path: Path) -> None:
    from muniment.backup.child import restore_in_child

    place = tmp_path / "backups"
    taken = small.maintenance.start_backup(place, protection=SIGNED, in_child=True).wait()
    assert taken.manifest.fingerprint_at_snapshot() == small.snapshot().fingerprint
    plan = MaintenanceActions.plan_restore(place, keyring=TRUSTING)
    restore_in_child(plan, tmp_path / "restored")
    with opened(tmp_path / "restored") as database:
        assert seen_by_readers(database) == seen_by_readers(small)
    with pytest.raises(WrongKey):
        restore_in_child(MaintenanceActions.plan_restore(place), tmp_path / "other")
    path = plan.backup.folder / NAME
    _rewritten(path.parent, lambda manifest: manifest.update(reason="forged"))
    with pytest.raises(DamagedBackup):
        restore_in_child(plan, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_signed_backup_is_told_from_one_that_was_forged(small: DocumentDatabase, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    taken = small.maintenance.start_backup(place, protection=SIGNED).wait()
    MaintenanceActions.verify(place, keyring=TRUSTING)
    MaintenanceActions.restore(place, tmp_path / "restored", keyring=TRUSTING)
    text = (taken.folder / NAME).read_bytes()
    for problem in ("is not what was signed", "who is not a trusted signer", "is not signed", "is not a signature"):
        _forge(taken, problem)
        for attempt in (
            lambda: MaintenanceActions.verify(place, keyring=TRUSTING, record=False),
            lambda: MaintenanceActions.restore(place, tmp_path / "other", keyring=TRUSTING),
        ):
            with pytest.raises(DamagedBackup, match=problem) as caught:
                attempt()
            assert taken.name in str(caught.value)
        with pytest.raises(BadSignature):
            read(taken.folder, TRUSTING)
        (taken.folder / NAME).write_bytes(text)
        (taken.folder / SIGNATURE).write_bytes(msgspec.json.encode(SIGNING_KEY.sign(text)))
    MaintenanceActions.verify(place, keyring=TRUSTING)


def _forge(taken: Backup, problem: str) -> None:
    signature = taken.folder / SIGNATURE
    match problem:
        case "is not what was signed":
            _rewritten(taken.folder, lambda manifest: manifest.update(reason="forged"))
        case "who is not a trusted signer":
            text = (taken.folder / NAME).read_bytes()
            signature.write_bytes(msgspec.json.encode(SigningKey(b"o" * 32).sign(text)))
        case "is not signed":
            signature.unlink()
        case _:
            signature.write_bytes(b"\xff")


def test_plain_backups_can_be_signed(small: DocumentDatabase, tmp_path: Path) -> None:
    place = tmp_path / "backups"
    taken = small.maintenance.start_backup(place, protection=Protection(signing_key=SIGNING_KEY)).wait()
    assert (taken.manifest.format, taken.manifest.encryption) == (2, None)
    MaintenanceActions.verify(place, keyring=Keyring((), (SIGNING_KEY.signer,)))
    small.put("x", {})
    small.maintenance.start_backup(place, incremental=True).wait()
    with pytest.raises(DamagedBackup, match="is not signed"):
        MaintenanceActions.restore(place, tmp_path / "restored", keyring=Keyring((), TRUSTING.signers))


def test_duckdb_reads_the_files_with_their_keys(place: Path, small: DocumentDatabase) -> None:
    import duckdb

    from muniment.backup.sql_view import sql_view

    with pytest.raises(WrongKey):
        sql_view(MaintenanceActions.plan_restore(place), "x")
    text = sql_view(MaintenanceActions.plan_restore(place, keyring=RING), "x")
    with duckdb.connect() as connection:
        connection.execute(text)
        ids = [id for (id,) in connection.execute("SELECT id FROM documents ORDER BY id").fetchall()]
        assert "late/1" in ids
        assert "orders/2" not in ids
        assert connection.execute("SELECT count(*) FROM attachments").fetchall() == [(3,)]
    keys = [backup.key.secret for backup in backups(place, RING) if backup.key]
    assert len(keys) == 2
    assert not any(base64.b64encode(key).decode() in text for key in keys)  # only what opens the Parquet files


def test_what_is_skipped_is_named_to_whoever_has_a_key(tmp_path: Path) -> None:
    from tests.storage.raw import raw

    with DocumentDatabase(tmp_path / "shop") as database:
        database.put("patients/1", {"name": "a" * 2000}, {"Raven-Entity-Name": "Patients"})
        database.put("patients/2", {"name": "b"}, {"Raven-Entity-Name": "Patients"})
    with raw(tmp_path / "shop") as connection:
        connection.execute(
            "UPDATE log SET body = CAST(replace(CAST(body AS TEXT), 'aaaa', 'aaab') AS BLOB) WHERE etag = 1"
        )
    mine = Protection((IDENTITY.recipient,))
    with DocumentDatabase(tmp_path / "shop") as database:
        taken = database.maintenance.start_backup(tmp_path / "backups", protection=mine, skip_damaged=True).wait()
    assert [each.id for each in taken.manifest.skipped] == ["patients/1"]
    closed = read(taken.folder)
    assert [(each.id, each.problem) for each in closed.manifest.skipped] == [("", "encrypted")]
    assert read(taken.folder, RING).manifest.skipped == taken.manifest.skipped
    assert b"patients" not in (taken.folder / NAME).read_bytes()
