"""Which close codes may stand in a frame."""

from __future__ import annotations

from wsproto.frame_protocol import FrameProtocol, ParseFailed

from fastws.wire.opcodes import is_close_code


def accepted_by_wsproto(code: int) -> bool:
    protocol = FrameProtocol(client=True, extensions=[])
    protocol.receive_bytes(b"\x88\x02" + code.to_bytes(2, "big"))
    try:
        return len(list(protocol.received_frames())) == 1
    except ParseFailed:
        return False


def test_a_close_code_is_valid_exactly_where_wsproto_takes_it() -> None:
    codes = [*range(990, 1030), 2999, 3000, 3999, 4000, 4401, 4999, 5000, 65535, 0]
    assert [is_close_code(code) for code in codes] == [accepted_by_wsproto(code) for code in codes]


def test_codes_that_never_stand_in_a_frame_are_refused() -> None:
    assert not any(is_close_code(code) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535))
