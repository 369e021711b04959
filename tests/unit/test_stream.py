from collections.abc import Callable

import numpy as np
import pytest

from consortium.crypto.keys import Secret
from consortium.crypto.stream import WordStream, _encryptor, key_stream_words
from consortium.errors import DomainError

# NIST SP 800-38A, F.5.5: CTR-AES256.Encrypt
KEY = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
COUNTER = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
PLAIN = (
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)
CIPHER = (
    "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
    "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6"
)


def test_stream_is_the_key_stream_of_sp_800_38a() -> None:
    stream = WordStream(Secret(bytes.fromhex(KEY)))
    stream._encryptor = _encryptor(bytes.fromhex(KEY), bytes.fromhex(COUNTER))
    words = np.frombuffer(bytes.fromhex(PLAIN), dtype="<u8") ^ stream.take(8)
    assert words.astype("<u8").tobytes().hex() == CIPHER


def test_first_block_is_the_encryption_of_sixteen_zero_bytes() -> None:
    # FIPS 197 with a zero key and block, as in the NIST known-answer tests
    words = key_stream_words(Secret(bytes(32)), 2)
    assert words.dtype == np.uint64
    assert words.astype("<u8").tobytes().hex() == "dc95c078a2408989ad48a21492842087"


@pytest.mark.parametrize("count", [0, 1, 3, 131_071, 131_072, 131_073, 400_000])
def test_words_do_not_depend_on_how_many_are_taken_at_once(
    count: int, secret: Callable[[str], Secret]
) -> None:
    whole = key_stream_words(secret("k"), count + 5)
    stream = WordStream(secret("k"))
    parts = [stream.take(2), stream.take(0), stream.take(count), stream.take(3)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_key_of_the_wrong_length_and_negative_count_are_refused() -> None:
    for short in (b"", bytes(16), bytes(31)):
        with pytest.raises(DomainError):
            WordStream(Secret(short))
    with pytest.raises(DomainError):
        key_stream_words(Secret(bytes(32)), -1)
