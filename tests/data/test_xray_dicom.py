"""Grey values of DICOM X-rays are those of the standard's pipeline, computed by hand; what is wrong is named."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    generate_uid,
)

from fewscans.data.formats import xray_dicom
from fewscans.errors import DataError

VALUES = np.array([[0, 1000, 2000], [3000, 4000, 4095]])  # 12 bits


def made(values=VALUES, bits=12, syntax=ExplicitVRLittleEndian, **elements):
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["x"])
    values = np.asarray(values)
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(values.min() < 0)
    dataset.PixelData = values.astype("<i2" if values.min() < 0 else "<u2").tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def write(path, values=VALUES, dataset=None, **elements):
    dataset = made(values, **elements) if dataset is None else dataset
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def table(entries, first=0, bits=16, vr="US"):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", vr, np.array(entries, "<u2").tobytes() if vr == "OW" else [int(entry) for entry in entries])
    return [item]


@pytest.fixture
def grey(tmp_path):
    return lambda *values, **elements: xray_dicom.read(write(tmp_path / "a.dicom", *values, **elements)).pixels


def test_without_a_window_the_image_spans_0_to_1(grey):
    pixels = grey()
    assert pixels.dtype == np.float32 and pixels.shape == (2, 3)
    assert pixels == pytest.approx(VALUES / 4095)
    assert grey(VALUES[:, :2] + 95) == pytest.approx(VALUES[:, :2] / 4000)


def test_bits_above_the_stored_ones_are_no_part_of_a_value(grey):
    assert grey(VALUES | 0x9000) == pytest.approx(VALUES / 4095)


def test_signed_values_are_read_as_such(grey):
    assert grey(VALUES - 2048) == pytest.approx(VALUES / 4095)


def test_a_linear_window_is_that_of_the_standard(grey):
    """PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5), cut to 0 and 1."""
    pixels = grey(WindowCenter=2048, WindowWidth=2001)
    assert pixels == pytest.approx(np.clip((VALUES - 2047.5) / 2000 + 0.5, 0, 1), abs=1e-6)
    assert pixels[0, 0] == 0 and pixels[1, 2] == 1 and pixels[0, 2] == pytest.approx(0.47625)


def test_of_several_windows_the_first_counts(grey):
    one = grey(WindowCenter=2048, WindowWidth=2001)
    assert np.array_equal(grey(WindowCenter=[2048, 100], WindowWidth=[2001, 10]), one)


def test_an_exact_window_has_its_own_formula(grey):
    pixels = grey(WindowCenter=2000, WindowWidth=4000, VOILUTFunction="LINEAR_EXACT")
    assert pixels == pytest.approx(np.clip(VALUES / 4000, 0, 1), abs=1e-6)


@pytest.mark.parametrize("slope", [2, -2])
def test_a_window_is_of_rescaled_values(grey, slope):
    values = slope * VALUES - 100
    pixels = grey(RescaleSlope=slope, RescaleIntercept=-100, WindowCenter=slope * 2000, WindowWidth=4001)
    assert pixels == pytest.approx(np.clip((values - slope * 2000 + 0.5) / 4000 + 0.5, 0, 1), abs=1e-6)


def test_an_empty_window_is_none(grey):
    assert grey(WindowCenter=None, WindowWidth=None) == pytest.approx(VALUES / 4095)


@pytest.mark.parametrize("vr", ["US", "OW"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_voi_table_maps_values_and_outweighs_a_window(grey, vr, syntax):
    entries = [0, 10, 40, 90, 200]  # of the inputs 998 to 1002
    values = [[0, 998, 999], [1000, 1001, 5000]]
    pixels = grey(values, bits=16, syntax=syntax, VOILUTSequence=table(entries, 998, 16, vr), WindowCenter=1,
                  WindowWidth=2, RescaleSlope=1, RescaleIntercept=0)  # fmt: skip
    assert pixels == pytest.approx(np.array([[0, 0, 10], [40, 90, 200]]) / 200)


def test_a_voi_table_of_8_bit_entries_maps_all_12_bits(grey):
    """pydicom counts the inputs of such a table in 8 bits, and 1000 becomes 232."""
    pixels = grey(VOILUTSequence=table(np.arange(4096) // 16, 0, 8))
    assert pixels == pytest.approx(VALUES // 16 / 255)


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_may_begin_below_0_and_end_before_the_highest_value(grey, name):
    pixels = grey([[-2, -1], [0, 32767]], bits=16, **{name: table([5, 6, 8, 25], -2)})
    assert pixels == pytest.approx(np.array([[0, 1], [3, 20]]) / 20)


def test_a_modality_table_comes_before_the_window(grey):
    values = [[0, 1], [2, 3]]
    lut = table([100, 300, 200, 400], 0, 12)
    pixels = grey(values, ModalityLUTSequence=lut, WindowCenter=250.5, WindowWidth=301)
    assert pixels == pytest.approx(np.array([[0, 2], [1, 3]]) / 3, abs=1e-6)


@pytest.mark.parametrize(
    "voi", [{}, {"WindowCenter": 2048, "WindowWidth": 2001}, {"VOILUTSequence": table(range(4096), 0, 12)}]
)
@pytest.mark.parametrize("said", [{}, {"PresentationLUTShape": "INVERSE"}])
def test_monochrome1_is_reversed_once_and_after_the_voi(grey, voi, said):
    plain = grey(**voi)
    assert grey(**voi, PhotometricInterpretation="MONOCHROME1", **said) == pytest.approx(1 - plain, abs=1e-6)
    assert plain[0, 0] < plain[1, 2]


def test_patient_manufacturer_and_size_are_known_without_decoding(tmp_path):
    file = write(tmp_path / "a.dcm", PatientID=" P7 ", Manufacturer="Acme", syntax=MPEG2MPML,
                 PixelData=encapsulate([b"no video"]))  # fmt: skip
    assert xray_dicom.header(file) == ((3, 2), "P7", "Acme")
    assert xray_dicom.size(file) == (3, 2)
    bare = write(tmp_path / "b.dcm", PatientID=None)
    assert xray_dicom.read(bare)[1:] == ("", "")


def test_compression_does_not_change_values(tmp_path):
    dataset = made()
    dataset.compress(RLELossless, generate_instance_uid=False)
    assert dataset.file_meta.TransferSyntaxUID == RLELossless
    file = write(tmp_path / "a.dcm", dataset=dataset)
    assert xray_dicom.read(file).pixels == pytest.approx(VALUES / 4095)


def without(*names):
    dataset = made()
    for name in names:
        del dataset[name]
    return dataset


BAD = {
    "no pixels; copy it again": without("PixelData"),
    "says no width and height": without("Rows", "Columns", "PixelData"),
    "holds 3 frames; an X-ray has one": made(NumberOfFrames=3, PixelData=np.zeros(18, "<u2").tobytes()),
    "is RGB with 3 values a pixel": made(SamplesPerPixel=3, PhotometricInterpretation="RGB"),
    "is PALETTE COLOR with 1": made(PhotometricInterpretation="PALETTE COLOR"),
    "is no colour space with 1": without("PhotometricInterpretation"),
    "every pixel has the same value": made(VALUES * 0 + 7),
    "same value": made(WindowCenter=60000, WindowWidth=2),
    "cannot be decoded .*Window Width.*; copy it again": made(WindowCenter=7, WindowWidth=0),
    "cannot be decoded .*bytes": made(PixelData=b"1234"),
    "MPEG2.* may need `pip install 'pylibjpeg": made(syntax=MPEG2MPML, PixelData=encapsulate([b"no video"])),
    "JPEG 2000.* may need `pip install": made(syntax=JPEG2000Lossless, PixelData=encapsulate([b"no J2K."])),
}


@pytest.mark.parametrize("says", BAD)
def test_what_is_no_grey_image_is_refused_by_name(tmp_path, says):
    file = write(tmp_path / "bad.dicom", dataset=BAD[says])
    with pytest.raises(DataError, match=f"bad.dicom: .*{says}"):
        xray_dicom.read(file)


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b.replace(b"1.2.840.10008.1.2.1", b"1.2.840.10008.9.2.1"),
     lambda b: b.replace(b"\x02\x00\x10\x00UI", b"\x00\x00\x10\x00UI")],
    ids=["unknown", "absent"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")  # pydicom's, of the damage
def test_a_transfer_syntax_that_is_damaged_is_one_error(tmp_path, spoil):
    file = write(tmp_path / "bad.dicom")
    good = file.read_bytes()
    file.write_bytes(spoil(good))
    assert file.read_bytes() != good
    with pytest.raises(DataError, match=r"bad.dicom: its pixels cannot be decoded .*; copy it again"):
        xray_dicom.read(file)


@pytest.mark.parametrize("content", [None, b"", b"PNG" * 100, b"\0" * 128 + b"DICM" + b"\xff" * 20])
@pytest.mark.parametrize("function", [xray_dicom.read, xray_dicom.size])
def test_what_is_no_dicom_is_refused_by_name(tmp_path, content, function):
    if content is not None:
        (tmp_path / "bad.dcm").write_bytes(content)
    with pytest.raises(DataError, match=r"bad.dcm: (cannot be read as DICOM|says no width).*; copy it again"):
        function(tmp_path / "bad.dcm")
