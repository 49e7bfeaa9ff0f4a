from itertools import product

import pytest
from pondsocket._state.lifecycle import (
    ADMISSIONS,
    LIVES,
    Admission,
    AdmissionEvent,
    Life,
    LifeEvent,
)


@pytest.mark.parametrize(("state", "event"), [*product(Admission, AdmissionEvent)])
def test_an_admission_is_decided_once(state: Admission, event: AdmissionEvent) -> None:
    outcome = {
        AdmissionEvent.ACCEPT: Admission.ACCEPTED,
        AdmissionEvent.DECLINE: Admission.REFUSED,
        AdmissionEvent.VANISH: Admission.ABANDONED,
    }[event]

    expected = outcome if state is Admission.PENDING else state

    assert ADMISSIONS.get((state, event), state) is expected
    assert ((state, event) in ADMISSIONS) is (state is Admission.PENDING)


@pytest.mark.parametrize(("state", "event"), [*product(Life, LifeEvent)])
def test_a_life_only_goes_forward(state: Life, event: LifeEvent) -> None:
    expected = {
        (Life.ADMITTED, LifeEvent.OPEN): Life.OPEN,
        (Life.ADMITTED, LifeEvent.RESTART): None,
        (Life.ADMITTED, LifeEvent.CLOSE): Life.CLOSING,
        (Life.ADMITTED, LifeEvent.END): Life.OVER,
        (Life.OPEN, LifeEvent.OPEN): None,
        (Life.OPEN, LifeEvent.RESTART): Life.RESTARTING,
        (Life.OPEN, LifeEvent.CLOSE): Life.CLOSING,
        (Life.OPEN, LifeEvent.END): Life.OVER,
        (Life.RESTARTING, LifeEvent.OPEN): None,
        (Life.RESTARTING, LifeEvent.RESTART): None,
        (Life.RESTARTING, LifeEvent.CLOSE): Life.CLOSING,
        (Life.RESTARTING, LifeEvent.END): Life.OVER,
        (Life.CLOSING, LifeEvent.OPEN): None,
        (Life.CLOSING, LifeEvent.RESTART): None,
        (Life.CLOSING, LifeEvent.CLOSE): None,
        (Life.CLOSING, LifeEvent.END): Life.OVER,
        (Life.OVER, LifeEvent.OPEN): None,
        (Life.OVER, LifeEvent.RESTART): None,
        (Life.OVER, LifeEvent.CLOSE): None,
        (Life.OVER, LifeEvent.END): None,
    }[state, event]

    assert LIVES.get((state, event)) is expected
