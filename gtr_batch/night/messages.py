"""Send what other systems are to be told of results: one message after another, each until it is answered.

A try is noted before anything is sent, and what came of it after: a process that dies in between leaves a message that
is tried again, under the same control id, when its time has passed. What is answered is never sent again by itself.
"""

from __future__ import annotations

from attrs import frozen

from gtr_batch.config import RisConfig
from gtr_batch.domain.result_message import AnswerKind, ReceiverAnswer, ResultMessage, SendingState, wait_s
from gtr_batch.errors import InputRefused, ReceiverUnreachable
from gtr_batch.logs import get_logger
from gtr_batch.night.site import Alert, check_running
from gtr_batch.ports import ResultMessages, ResultReceiver, StopSwitch

log = get_logger("messages")
UNANSWERED = 3  # in a row; then the other system is taken to be ill, and the rest waits


@frozen
class Sent:
    """What came of a run: how many were taken, have to wait, and became dead letters."""

    taken: int = 0
    waiting: int = 0
    dead: int = 0


def send_results(
    messages: ResultMessages,
    receiver: ResultReceiver,
    config: RisConfig,
    *,
    switch: StopSwitch,
    alert: Alert | None = None,
) -> Sent:
    """Send every message that is due; `alert` tells operations of dead letters.

    Raises
    ------
    ServiceStopped
        A person has stopped the service, perhaps in the middle.
    ReceiverUnreachable
        The other system takes no connection, or has left several messages unanswered; all wait.
    """
    taken = waiting = dead = unanswered = 0
    channel = receiver.channel
    try:
        while messages.waiting(channel).due:
            check_running(switch)
            receiver.connect()  # before a message is taken in hand: what was never sent was never tried
            message = messages.claim(channel, receiver.lease_s)
            if message is None:
                break
            answer = _answer(receiver, message)
            if answer.kind is AnswerKind.ACCEPTED:
                taken, unanswered = taken + 1, 0
                messages.end(message, channel, SendingState.SENT, answer.code)
                log.info("message.sent", case_id=message.case.case_id, control_id=message.control_id)
            elif answer.kind is AnswerKind.NOT_NOW and message.tries + 1 < config.max_tries:
                waiting, unanswered = waiting + 1, unanswered + 1
                messages.wait(
                    message, channel, wait_s(message.tries + 1, config.first_wait_s, config.longest_wait_s), answer
                )
                _say(message, "message.waits", answer)
            else:
                dead += 1
                messages.end(message, channel, SendingState.DEAD, answer.code)
                _say(message, "message.dead", answer)
            if unanswered >= UNANSWERED:
                raise ReceiverUnreachable(
                    f"{channel}: {unanswered} messages in a row were not taken, the last: {answer.code}; they are sent "
                    f"again later"
                )
    finally:
        receiver.close()
        if dead and alert is not None:
            _tell(alert, dead)
    return Sent(taken, waiting, dead)


def _answer(receiver: ResultReceiver, message: ResultMessage) -> ReceiverAnswer:
    try:
        return receiver.send(message)
    except ReceiverUnreachable:
        return ReceiverAnswer(AnswerKind.NOT_NOW, "no connection")
    except InputRefused as err:
        return ReceiverAnswer(AnswerKind.REFUSED, f"not written: {err}")


def _say(message: ResultMessage, event: str, answer: ReceiverAnswer) -> None:
    say = log.error if event == "message.dead" else log.warning
    say(
        event,
        case_id=message.case.case_id,
        control_id=message.control_id,
        tries=message.tries + 1,
        answer=answer.code,
    )


def _tell(alert: Alert, dead: int) -> None:
    """Tell operations; an alert that cannot be sent stops nothing: `gtr ris list` and `gtr doctor` have it."""
    try:
        alert("Messages about results were refused", f"{dead} became dead letters; see `gtr ris list`")
    except Exception as err:  # noqa: BLE001 - whatever carries alerts may fail in any way
        log.error("message.alert_not_sent", error=type(err).__name__)
