"""Image folders as they are found: an odd file is right, or one line with its name and a remedy."""

import logging
import os
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from unitlens.config.networks import DatasetSpec
from unitlens.data.describe import describe_dataset
from unitlens.data.image_folders import shown_path
from unitlens.data.image_reading import read_image
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.data.prepared_state import find_stale_dataset
from unitlens.errors import DatasetError

SPEC = DatasetSpec(
    name="image_folder", folders={"train": "train", "test": "test"}, image_size=8, mean=[0], std=[1]
)


@pytest.fixture
def root(tmp_path):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = random.integers(0, 256, (12, 12, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "data"


def prepare(root):
    prepare_dataset(SPEC, root.parent / "set", data=root)
    return [load_dataset(root.parent / "set", split) for split in ("train", "test")]


def facts(root):
    train, test = prepare(root)
    return train.classes, train.labels.tolist(), test.labels.tolist(), train.content_hash


def add(path, content=b"no image"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_hidden_and_foreign_entries__are_no_classes_and_no_images(root):
    before = facts(root)
    image = (root / "train/cat/0.png").read_bytes()
    for place in (
        "train/.ipynb_checkpoints/0-checkpoint.png",
        "train/cat/.ipynb_checkpoints/0-checkpoint.png",
        "train/cat/._0.png",
        "train/.DS_Store",
        "train/cat/.DS_Store",
        "train/cat/Thumbs.db",
        "train/@eaDir/0.png",
        "test/dog/@eaDir/0.png",
        "test/__MACOSX/cat/0.png",
    ):
        add(root / place, image)

    assert facts(root) == before
    assert describe_dataset(SPEC, data=root).samples == {"train": 6, "test": 6}


def test_folder_that_is_named_like_an_image__is_a_folder(root):
    before = facts(root)
    (root / "train/cat/3.png").mkdir()
    assert facts(root) == before

    shutil.copy(root / "train/cat/0.png", root / "train/cat/3.png/0.png")
    assert len(prepare(root)[0]) == 7


def huge(path):
    # 400 megapixels of one bit are 50 MB in memory, and some kB in the file
    Image.new("1", (20_000, 20_000)).save(path)


def deep(path):
    Image.fromarray(np.arange(144, dtype=np.uint16).reshape(12, 12)).save(path)


def deep_colours(path):
    # Pillow cannot write them: a PNG of 12 x 12 pixels by hand
    rows = b"".join(b"\0" + bytes(12 * 3 * 2) for _ in range(12))
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 12, 12, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def stack(path):
    frames = [Image.new("RGB", (12, 12), (shade, 0, 0)) for shade in (10, 90, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def signed(path):
    image = Image.fromarray(np.full((12, 12), 200, np.uint8))  # -56, where it is signed
    image.save(path, tiffinfo={339: 2})


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("9.png", lambda path: path.touch(), "is empty; restore it or remove it"),
        ("9.png", lambda path: path.symlink_to("nowhere"), "is a link to nothing; restore it or"),
        ("9.png", lambda path: path.symlink_to(path.name), "is a link to nothing; restore it or"),
        ("9.png", os.mkfifo, "is no file; rename it or remove it"),
        ("9.png", lambda path: path.write_bytes(b"text"), "cannot identify image .*; restore it"),
        ("9.png", huge, "400000000 pixels.*restore it or remove it"),
        ("9.png", deep, r"has values of more than 8 bits \(mode I;16\).*save them as 8 bits, or"),
        (
            "9.tif",
            lambda path: Image.fromarray(np.zeros((12, 12), np.float32)).save(path),
            r"has values of more than 8 bits \(mode F\)",
        ),
        ("9.png", deep_colours, r"has values of more than 8 bits \(mode RGB\)"),
        ("9.tif", stack, "has 3 frames, of which one alone would be read; save the frames as"),
        ("9.png", stack, "has 3 frames"),
        ("9.webp", stack, "has 3 frames"),
        (
            "9.tif",
            lambda path: Image.new("LAB", (12, 12)).save(path),
            "has the colours of CIELAB; convert it to RGB or remove it",
        ),
        ("9.tif", signed, "has values below 0; convert it to RGB or remove it"),
        (
            "9.png",
            lambda path: Image.new("L", (1, 8_000_000)).save(path),
            "has 1 x 8000000 pixels, too long .* crop it or remove it",
        ),
    ],
)
def test_odd_file__is_refused_by_name_and_removing_it_helps(root, name, write, message):
    before = facts(root)
    path = root / "test" / "dog" / name
    write(path)
    with pytest.raises(DatasetError, match=message) as raised:
        prepare(root)

    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    path.unlink()
    assert facts(root) == before


def test_unreadable_file__is_refused_by_name(root, monkeypatch):
    opened = Image.open

    def refuse(path, *arguments):
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments)

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DatasetError, match=r"train/cat/2\.png: .*Permission denied.*; restore it"):
        prepare(root)


def test_truncated_image__is_named_when_it_is_read(root):
    path = root / "test" / "dog" / "2.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    _, test = prepare(root)
    with pytest.raises(
        DatasetError, match=r"cannot read the image .*dog/2\.png: .*; restore it .*delete"
    ):
        test.batch([5])

    path.write_bytes(whole)
    shutil.rmtree(root.parent / "set")
    _, test = prepare(root)
    assert test.batch([5])[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_modes_of_8_bits__are_read_as_pillow_converts_them(root, mode):
    path = root / "train" / "cat" / ("0.tif" if mode == "CMYK" else "0.png")
    (root / "train" / "cat" / "0.png").unlink()
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)

    inputs, _ = prepare(root)[0].batch([0])

    expected = np.asarray(Image.fromarray(pixels).convert(mode).convert("RGB"))
    assert np.allclose(inputs[0].permute(1, 2, 0).numpy() * 255, expected, atol=1e-3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photo__is_turned_upright_as_its_camera_noted(tmp_path, suffix, orientation):
    shades = np.zeros((16, 24, 3), np.uint8)
    shades[:8, :12], shades[8:, :12], shades[:8, 12:] = 250, 150, 60  # four corners, four shades
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(shades).save(path, exif=exif)

    found = read_image(path, 16, "bilinear").transpose(1, 2, 0).astype(int)

    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
    top, left = (upright.height - 16) // 2, (upright.width - 16) // 2
    expected = np.asarray(upright).astype(int)[top : top + 16, left : left + 16]
    assert np.abs(found - expected).max() <= 2  # tif and png are exact, jpg decodes the same way
    if orientation == 6:  # by hand: the top of the scene is at the right of the file
        by_hand = np.rot90(shades, -1).astype(int)[4:20]
        assert np.abs(found - by_hand).mean() < 6


def test_orientation__is_part_of_what_determines_the_inputs(root):
    path = root / "train" / "cat" / "0.jpg"
    (root / "train" / "cat" / "0.png").unlink()
    hashes = {}
    for orientation in (1, 3, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(path, exif=exif)
        hashes[orientation] = facts(root)[-1]
        shutil.rmtree(root.parent / "set")
    assert len(set(hashes.values())) == 3


def test_preview_in_a_photo__is_not_a_frame(root):
    photo, preview = (Image.new("RGB", (12, 12), (shade, 0, 0)) for shade in (200, 10))
    (root / "train/cat/0.png").unlink()
    photo.save(root / "train/cat/0.jpg", format="MPO", save_all=True, append_images=[preview])

    inputs, _ = prepare(root)[0].batch([0])
    assert abs(float(inputs[0, 0].mean()) * 255 - 200) < 3


def notes(root, caplog):
    caplog.clear()
    shutil.rmtree(root.parent / "set", ignore_errors=True)
    with caplog.at_level(logging.WARNING, "unitlens"):
        prepare(root)
    return [
        record.getMessage().removeprefix("data set image_folder: ") for record in caplog.records
    ]


def test_what_is_left_out__is_told(root, caplog):
    assert notes(root, caplog) == []

    add(root / "train/.ipynb_checkpoints/0-checkpoint.png")
    add(root / "train/cat/Thumbs.db")
    add(root / "train/readme.txt")
    (root / "train/cat/more").symlink_to(root / "train/dog")
    assert notes(root, caplog) == [
        f"left out of the train images in {root / 'train'}, being no class folders or images: "
        ".ipynb_checkpoints, cat/Thumbs.db, cat/more, readme.txt"
    ]
    for number in range(4):
        add(root / f"train/dog/{number}.gif")
    assert notes(root, caplog)[0].endswith("cat/more, dog/0.gif, dog/1.gif and 3 more")


def test_class_that_one_split_alone_has__is_told(root, caplog):
    shutil.copytree(root / "test" / "cat", root / "test" / "cow")
    assert notes(root, caplog) == ["the train images have no class folder cow"]
    shutil.rmtree(root / "train" / "dog")
    assert "the train images have no class folder cow, dog" in notes(root, caplog)


def test_single_class__is_told(root, caplog):
    for split in ("train", "test"):
        (root / split).rename(root / "inner")
        (root / split).mkdir()
        (root / "inner").rename(root / split / "images")
    (note,) = notes(root, caplog)
    assert note.startswith("there is one class, 'images'; if the classes are the folders in it")


def test_palette_with_transparency__is_read_without_a_warning(root):
    rgba = np.random.default_rng(1).integers(0, 256, (8, 8, 4), np.uint8)
    image = Image.fromarray(rgba).convert("P")
    image.save(root / "train/cat/0.png", transparency=bytes(range(256)))

    inputs, _ = prepare(root)[0].batch([0])

    expected = np.asarray(image.convert("RGB"))
    assert np.allclose(inputs[0].permute(1, 2, 0).numpy() * 255, expected, atol=1e-3)


@pytest.mark.parametrize("place", [b"train/cat/caf\xe9.png", b"train/caf\xe9/0.png"])
def test_name_that_is_not_utf8__is_shown_with_escapes_and_renaming_helps(root, place):
    path = os.path.join(os.fsencode(root), place)  # noqa: PTH118 - bytes
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - bytes
    shutil.copy(root / "train/cat/0.png", path)

    with pytest.raises(DatasetError, match=r"caf\\xe9.* is not UTF-8; rename") as raised:
        prepare(root)
    assert str(raised.value).isascii()
    assert shown_path(os.fsdecode(path)).isascii()

    wrong = path if b"train/cat/" in place else os.path.dirname(path)  # noqa: PTH120 - bytes
    os.rename(wrong, wrong.replace(b"\xe9", "é".encode()))  # noqa: PTH104 - bytes
    assert len(prepare(root)[0]) == 7


def test_image_of_another_size_than_listed__is_refused_and_the_remedy_helps(root):
    train, _ = prepare(root)
    path = root / "train" / "cat" / "0.png"
    with path.open("r+b") as file:  # in place: the folder does not change
        file.seek(0, 2)
        file.write(b"more")
    with pytest.raises(DatasetError, match=r"cat/0\.png has \d+ bytes, but had .*delete the fold"):
        train.batch([0])

    shutil.rmtree(root.parent / "set")
    assert prepare(root)[0].batch([0])[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_find_stale_dataset__notices_files_that_come_and_go(root, change):
    prepare(root)
    folder = root / "train" / "cat"
    assert find_stale_dataset(root.parent / "set", SPEC, root) is None
    if change == "added":
        shutil.copy(folder / "0.png", folder / "3.png")
    elif change == "removed":
        (folder / "0.png").unlink()
    else:
        (folder / "0.png").rename(folder / "9.png")

    assert find_stale_dataset(root.parent / "set", SPEC, root).endswith("train/cat has changed")
    prepare(root)
    assert find_stale_dataset(root.parent / "set", SPEC, root) is None


def test_find_stale_dataset__notices_moved_images(root):
    hash_before = prepare(root)[0].content_hash
    moved = root.rename(root.parent / "elsewhere")

    assert "images now lie in" in find_stale_dataset(root.parent / "set", SPEC, moved)
    assert prepare(moved)[0].content_hash == hash_before
    assert find_stale_dataset(root.parent / "set", SPEC, moved) is None


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("labels.csv", r"the train images .*labels\.csv are a file, but must be a folder with one"),
        ("flat", r"flat and .*test hold no class folders; put one folder a class there; images wh"),
    ],
)
def test_list_of_names_and_labels__is_one_line_with_what_can_be_done(root, folder, message):
    (root / "labels.csv").write_text("0.png,cat\n")
    add(root / "flat" / "0.png")
    shutil.rmtree(root / "test")
    (root / "test").mkdir()
    spec = SPEC.model_copy(update={"folders": {"train": folder, "test": "test"}})

    with pytest.raises(DatasetError, match=message) as raised:
        prepare_dataset(spec, root.parent / "set", data=root)
    assert str(raised.value).endswith("by a function of yours: dataset.name = module:function")
