"""Operations are told once, by real email and a real webhook, from what stands in Postgres."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from gtr_batch.config import NotifyConfig
from gtr_batch.domain.switch import SwitchAction
from gtr_batch.errors import NoticeNotDelivered
from gtr_batch.night import watch
from gtr_batch.notify import channels_of
from gtr_batch.wiring import open_site
from tests.certificates import Authority
from tests.nights.conftest import NIGHT
from tests.nights.small_site import SetClock
from tests.nights.test_cli import gtr, settings  # noqa: F401 - fixtures
from tests.notice_receivers import MailServer, Webhook, serving

MODEL = "3f" * 32
FAILED = {"cases": 2, "failed": {"11111111-1111-4111-8111-111111111111": "stage: PHANTOM^ ACC-1"}, "intake": {}}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def mail():
    server = MailServer()
    with serving(server):
        yield server


@pytest.fixture
def hook():
    server = Webhook()
    with serving(server):
        yield server


@pytest.fixture
def notify(mail, hook):
    """Both channels, to servers of this machine."""
    return NotifyConfig(
        smtp_host="127.0.0.1",
        smtp_port=mail.port,
        smtp_tls="none",
        smtp_from="gtr@hospital.example",
        smtp_to=("ops@hospital.example", "it@hospital.example"),
        webhook_url=hook.url,
        webhook_token="t0ken",
        timeout_s=20,
    )


@pytest.fixture
def site(config, notify):
    """The site in the small hours after a night that ended red; the clock of the database runs, ours is set to it."""
    with open_site(attrs.evolve(config, notify=notify)) as opened:
        opened.nights.open(NIGHT, MODEL)
        opened.nights.close(NIGHT, FAILED)
        opened.clock = SetClock()
        opened.clock.at = datetime.now(UTC) + timedelta(minutes=1)
        yield opened


def of_red(found):
    return [one for one in found if one["kind"] == "red"]


def test_a_red_night_is_told_once_over_each_channel_without_a_case_or_a_patient(site, notify, mail, hook):
    channels = channels_of(notify)

    first = watch.watch(site, channels)
    second = watch.watch(site, channels)

    [message] = [one for one in mail.received if "is red" in one["Subject"]]
    [posted] = of_red(hook.received)
    assert (first.trouble, second.raised, second.delivered) == ({}, [], 0)
    assert message["To"] == "ops@hospital.example, it@hospital.example"
    assert posted["subject"] == message["Subject"] == f"gtr-batch: night {NIGHT} is red"
    assert posted["text"].strip() == message.get_content().strip()
    assert "1 case or study failed" in posted["text"]
    assert set(hook.tokens) == {"Bearer t0ken"}
    everything = json.dumps(hook.received) + "".join(one.as_string() for one in mail.received)
    assert not any(text in everything for text in ("PHANTOM", "ACC-", "11111111", "s3cret"))


def test_a_night_that_is_closed_red_again_is_told_again_and_a_stop_too(site, notify, hook):
    channels = channels_of(notify)[1:]
    watch.watch(site, channels)
    site.nights.close(NIGHT, FAILED)
    site.switch.decide(SwitchAction.STOP, by="Dr Ada", why="patient PHANTOM-1")

    watch.watch(site, channels)

    assert len(of_red(hook.received)) == 2
    assert [one["subject"] for one in hook.received if one["kind"] == "stopped"] == [
        "gtr-batch: the service was stopped"
    ]
    assert "PHANTOM" not in json.dumps(hook.received)


def test_what_is_not_delivered_over_one_channel_goes_out_over_the_other_and_is_tried_again(site, notify, mail, hook):
    channels, hook.status = channels_of(notify), 503
    mail.answers["MAIL"] = "451 mailbox of Doe^Jane is busy"

    first = watch.watch(site, channels)
    mail.answers.clear()
    second = watch.watch(site, channels)
    waiting = site.notices.waiting()
    hook.status = 200
    third = watch.watch(site, channels)

    assert first.trouble == {"smtp": "email: SMTPSenderRefused 451", "webhook": "webhook: status 503"}
    assert (second.trouble, len(mail.received)) == ({"webhook": "webhook: status 503"}, len(first.raised))
    assert {(one.channel, one.tries, one.error) for one in waiting} == {("webhook", 2, "webhook: status 503")}
    assert (third.trouble, site.notices.waiting()) == ({}, [])
    assert len(hook.received) == len(first.raised)


def test_a_channel_that_comes_later_is_not_told_of_what_was_before_it(site, notify, mail, hook):
    watch.watch(site, channels_of(attrs.evolve(notify, smtp_host="")))
    before = len(mail.received)
    watch.watch(site, channels_of(notify))

    assert (before, mail.received) == (0, [])


def test_doctor_shows_what_was_not_delivered_and_that_nobody_looks(
    gtr,  # noqa: F811
    settings,  # noqa: F811
    site,
    notify,
    hook,
):
    settings |= {"NOTIFY__WEBHOOK_URL": hook.url}

    def notices(**given):
        found = json.loads(gtr("doctor", "--json", **given).stdout)
        return next((one["state"], one["found"]) for one in found if one["check"] == "notices")

    silent = notices(**{name: value for name, value in settings.items() if not name.startswith("NOTIFY")})
    unwatched = notices(**settings)
    hook.status = 500
    looked = gtr("watch", "--json", **settings)
    stuck = notices(**settings)
    hook.status = 200
    again = gtr("watch", **settings)
    well = notices(**settings)
    tested = gtr("watch", "--test", **settings)

    assert (silent[0], unwatched[0], stuck[0], well[0]) == ("warn", "warn", "red", "ok")
    assert "nobody is told" in silent[1] and "nobody has looked" in unwatched[1]
    assert "webhook: status 500" in stuck[1]
    assert (looked.exit_code, again.exit_code, tested.exit_code) == (1, 0, 0)
    assert "red" in [one["kind"] for one in json.loads(looked.stdout)["raised"]]
    assert hook.received[-1]["subject"] == "gtr-batch: test notice"
    assert "s3cret" not in looked.stdout + looked.stderr + stuck[1]


def test_a_watch_that_could_tell_nobody_says_what_to_set(gtr, settings):  # noqa: F811
    looked = gtr("watch", **settings)

    assert looked.exit_code == 3
    assert "notify.smtp_host" in looked.stderr


def test_a_database_that_does_not_answer_is_told_once_until_it_answers_again(gtr, settings, hook, dsn):  # noqa: F811
    settings |= {"NOTIFY__WEBHOOK_URL": hook.url}
    nowhere = {**settings, "DATABASE__DSN": "host=127.0.0.1 port=1 dbname=gtr user=gtr"}

    ended = [gtr("watch", **nowhere).exit_code for _ in range(2)]
    told = [one["subject"] for one in hook.received]
    gtr("watch", **settings)
    gtr("watch", **nowhere)

    assert ended == [4, 4]
    assert told == ["gtr-batch: the database does not answer"]
    assert [one["subject"] for one in hook.received].count(told[0]) == 2


def test_email_goes_over_tls_to_a_server_whose_certificate_is_trusted_and_to_no_other(tmp_path, notify):
    ours = Authority(tmp_path, "hospital")
    server = MailServer(ours.issue("mail"))
    event = watch.Notice("key", watch.NoticeKind.RED, NIGHT, "gtr-batch: night is red", "Text.")

    with serving(server):
        settings = attrs.evolve(notify, smtp_port=server.port, smtp_tls="starttls", webhook_url="")
        [trusting] = channels_of(attrs.evolve(settings, ca_file=ours.ca))
        [other] = channels_of(settings)
        trusting.deliver(event)
        with pytest.raises(NoticeNotDelivered, match="SSLCertVerificationError"):
            other.deliver(event)

    assert (len(server.received), server.encrypted) == (1, [True])


def test_a_mail_server_that_offers_no_tls_is_sent_nothing(mail, notify):
    [channel] = channels_of(attrs.evolve(notify, smtp_tls="starttls", webhook_url=""))

    with pytest.raises(NoticeNotDelivered, match="SMTPNotSupportedError"):
        channel.deliver(watch.Notice("key", watch.NoticeKind.RED, NIGHT, "subject", "Text."))

    assert mail.received == []
