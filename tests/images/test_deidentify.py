"""De-identification: keys, and that nothing planted in an instance comes out of the reader."""

import logging
import sys
import warnings

import numpy as np
import pytest
from dicom_files import file_bytes, grey_scan, make_dicom, planted_dicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from app.domain import Box, RegionSource
from app.errors import BadInput
from app.images import header
from app.images.deidentify import KeptHeader, Keyer, keep_header
from app.images.reader import read_frame

KEYER = Keyer(b"a secret of thirty-two bytes ....")


def test_keys_are_those_of_hmac_sha256() -> None:
    # printf 'sonoseek/patient\0P1' | openssl dgst -sha256 -hmac 'key'
    assert Keyer(b"key").patient_key("P1") == "0942d69a7398d216d660a3abf0d61bd54495bd74591e557665567479bd3cd742"


def test_each_kind_of_id_has_its_own_domain() -> None:
    keys = [KEYER.patient_key("1"), KEYER.study_key("1"), KEYER.instance_key("1"), KEYER.identity_key("1")]
    assert len(set(keys)) == 4
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


def test_padding_is_stripped_and_case_kept() -> None:
    assert KEYER.patient_key(" P 1 \0") == KEYER.patient_key("P 1")
    assert KEYER.patient_key("P1") != KEYER.patient_key("p1")
    assert KEYER.patient_key("P 1") != KEYER.patient_key("P1")


@pytest.mark.parametrize("around", ["\t{}\r\n", "\u00a0{}\u2003", "\u3000{} \0 \0", "\0 \0{}", "\x1c{}\x85"])
def test_white_space_of_any_kind_makes_no_other_patient(around: str) -> None:
    assert KEYER.patient_key(around.format("P 1")) == KEYER.patient_key("P 1")


def test_composed_and_decomposed_letters_make_one_patient() -> None:
    assert KEYER.patient_key("Mu\u0308ller") == KEYER.patient_key("M\u00fcller")
    assert KEYER.patient_key("M\u00fcller") != KEYER.patient_key("Muller")


def test_all_white_space_is_padding() -> None:
    every = [letter for letter in map(chr, range(sys.maxunicode + 1)) if letter.isspace()]
    assert set(header.PADDING) == {"\0", *every}


def test_another_secret_gives_other_keys() -> None:
    other = Keyer(b"another")
    assert other.patient_key("1") != KEYER.patient_key("1")
    assert other.check_value() != KEYER.check_value()
    assert Keyer(b"another").check_value() == other.check_value()


def test_a_keyer_does_not_show_its_secret() -> None:
    assert "secret" not in repr(KEYER)


def test_header_of_nothing() -> None:
    assert keep_header(Dataset(), KEYER) == KeptHeader()


def test_ids_become_keys() -> None:
    other = Dataset()
    other.PatientID = "O3"
    ids = {
        "PatientID": "P1 ",
        "OtherPatientIDs": ["O1", "O2"],
        "OtherPatientIDsSequence": Sequence([other]),
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.4",
        "SOPInstanceUID": "1.2.5",
    }
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        facts = read_frame(make_dicom(grey_scan(), syntax=syntax, **ids), keyer=KEYER).facts
        assert facts.patient_key == KEYER.patient_key("P1")
        assert facts.study_key == KEYER.study_key("1.2.3")
        assert facts.instance_key == KEYER.instance_key("1.2.5")
        named = ("P1", "O1", "O2", "O3", "A1", "S1", "1.2.3", "1.2.4", "1.2.5")
        assert facts.identity_keys == {KEYER.identity_key(one) for one in named}


def test_no_ids_no_keys() -> None:
    absent = {"StudyInstanceUID": "", "SeriesInstanceUID": None, "PatientID": "\t \t", "SOPInstanceUID": None}
    data = make_dicom(grey_scan(), preamble=False, **absent)
    facts = read_frame(data, keyer=KEYER).facts
    assert (facts.patient_key, facts.study_key, facts.instance_key) == (None, None, None)
    assert facts.identity_keys == frozenset()


def test_device_is_kept_as_one_short_line() -> None:
    device = {"Manufacturer": "ACME\x1b[31m Ultrasound", "ManufacturerModelName": "M" * 64}
    facts = read_frame(make_dicom(grey_scan(), **device), keyer=KEYER).facts
    assert facts.manufacturer == "ACME[31m Ultrasound"
    assert facts.model == "M" * 64


def test_only_defined_modalities_are_kept() -> None:
    assert read_frame(make_dicom(grey_scan(), Modality="MILLER"), keyer=KEYER).facts.modality is None


@pytest.mark.parametrize("frames", [None, 5])
@pytest.mark.parametrize("regions", [True, False])
def test_nothing_planted_comes_out(frames, regions, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    planted = planted_dicom(frames=frames, regions=regions)
    assert len(planted.strings) > 50
    assert all(text.encode() in planted.data for text in planted.strings)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        frame = read_frame(planted.data, keyer=KEYER)
    printed = capfd.readouterr()
    said = [repr(frame.facts), caplog.text, printed.out, printed.err, *(str(one.message) for one in warned)]
    for text in planted.strings:
        assert not any(text in one for one in said), text
        assert text.encode() not in frame.pixels.tobytes()


@pytest.mark.parametrize("regions", [True, False])
def test_burned_in_text_is_cut_away(regions: bool) -> None:
    planted = planted_dicom(regions=regions)
    frame = read_frame(planted.data, keyer=KEYER)
    source = RegionSource.DICOM if regions else RegionSource.DETECTED
    assert frame.facts.region_source is source
    box, scan = frame.facts.region, Box(*planted.scan)
    assert max(abs(a - b) for a, b in zip(box, scan, strict=True)) <= 4
    # The name is written above; what is kept starts well below it.
    assert box.y0 > 24


def test_burned_in_without_a_region_is_said() -> None:
    facts = read_frame(planted_dicom(regions=False).data, keyer=KEYER).facts
    assert facts.unmasked
    assert facts.warnings
    assert not read_frame(planted_dicom(regions=True).data, keyer=KEYER).facts.unmasked


def test_a_given_region_settles_burned_in_text() -> None:
    planted = planted_dicom(regions=False)
    facts = read_frame(planted.data, keyer=KEYER, region=Box(*planted.scan)).facts
    assert not facts.unmasked
    assert not facts.warnings


BROKEN = {
    "WindowCenter": "1234567890",
    "NumberOfFrames": "0000000001",
    "RescaleSlope": "1234567890",
    "SpecificCharacterSet": "ISO_IR 100",
    "PhotometricInterpretation": "MONOCHROME",
    "SOPInstanceUID": "1234567890",
    "PatientID": "1234567890",
    "Modality": "1234567890",
    "BurnedInAnnotation": "1234567890",
}


@pytest.mark.parametrize("keyword", BROKEN)
@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.JPEG2000Lossless], ids=lambda s: s.keyword)
def test_names_in_the_wrong_elements_do_not_come_out(keyword, syntax, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    elements = {"WindowWidth": "20"} if keyword == "WindowCenter" else {}
    data = make_dicom(grey_scan(), syntax=syntax, **elements)
    usual = {"PhotometricInterpretation": b"MONOCHROME2 "}.get(keyword)
    if usual is None:
        data = make_dicom(grey_scan(), syntax=syntax, **elements, **{keyword: BROKEN[keyword]})
        usual = BROKEN[keyword].encode()
    assert usual in data
    data = data.replace(usual, b"PLANTED^\xc4\xd6".ljust(len(usual)))
    said = ""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            said = repr(read_frame(data, keyer=KEYER).facts)
        except BadInput as refused:
            error: BaseException | None = refused
            while error is not None:
                said += f"{error!r} {vars(error)}"
                error = error.__context__
    printed = capfd.readouterr()
    said += caplog.text + printed.out + printed.err + "".join(str(one.message) for one in warned)
    assert "PLANTED" not in said


def test_bits_beside_the_pixels_are_not_shown() -> None:
    # Old overlays stand in the unused high bits of each pixel.
    values = grey_scan().astype(np.uint16) * 16
    with_overlay = values | (np.arange(96, dtype=np.uint16) % 2 << 15)
    plain, covered = (read_frame(make_dicom(v, BitsStored=12), keyer=KEYER).pixels for v in (values, with_overlay))
    assert np.array_equal(plain, covered)


def test_file_meta_does_not_stand_in_for_the_data_set() -> None:
    dataset = Dataset()
    dataset.PatientName = "PLANTED^NAME"
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.3", "1.2.4"
    with pytest.raises(BadInput) as caught:
        read_frame(file_bytes(dataset, uid.ExplicitVRLittleEndian), keyer=KEYER)
    assert "PLANTED" not in repr(vars(caught.value))
