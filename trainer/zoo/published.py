"""What papers print about these networks: facts to compare with. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

CITYSCAPES = "cityscapes"
CAMVID = "camvid"
BDD = "bdd"


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of FasterSeg's Tables 4 to 6.

    Attributes:
        dataset: ``cityscapes`` (Table 4), ``camvid`` (Table 5) or ``bdd`` (Table 6).
        resolution: (height, width) in pixels at which the row was taken.
        fps: frames per second; FasterSeg's are of a GTX 1080 Ti, of the others the paper does not say whose.
        miou_val: mean intersection over union in percent on the validation set; ``None`` where the row has none.
        miou_test: the same on the test set.
    """

    dataset: str
    resolution: tuple[int, int]
    fps: float
    miou_val: float | None = None
    miou_test: float | None = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """What is printed about one network.

    Attributes:
        title: the network's name in print.
        parameters_m: parameters in millions, where they are printed as a count.
        gmacs: billions of multiply-adds, each counted once.
        image: (height, width) of the image that ``gmacs`` are of.
        source: where the two figures are from, and how they were converted; empty where there are none.
        results: FasterSeg's rows.
    """

    title: str
    parameters_m: float | None = None
    gmacs: float | None = None
    image: tuple[int, int] | None = None
    source: str = ""
    results: tuple[Result, ...] = ()


def _cityscapes(height: int, width: int, fps: float, val: float | None, test: float) -> Result:
    return Result(dataset=CITYSCAPES, resolution=(height, width), fps=fps, miou_val=val, miou_test=test)


def _camvid(fps: float, test: float) -> Result:
    return Result(dataset=CAMVID, resolution=(720, 960), fps=fps, miou_test=test)


def _bdd(fps: float, val: float) -> Result:
    return Result(dataset=BDD, resolution=(720, 1280), fps=fps, miou_val=val)


PUBLISHED: dict[str, Published] = {
    "enet": Published(
        title="ENet",
        parameters_m=0.37,
        gmacs=1.915,
        image=(360, 640),
        source="Paszke et al., 2016, Table 3: 0.37 M parameters, 3.83 GFLOPs, taken as two for each multiply-add",
        results=(_cityscapes(512, 1024, 76.9, None, 58.3), _camvid(61.2, 68.3)),
    ),
    "icnet": Published(
        title="ICNet",
        # 26.5 "M" stands in the same tables; ours has 6.7 M: it is 4 bytes for each parameter, not a count.
        parameters_m=6.625,
        gmacs=28.3,
        image=(1024, 2048),
        source="tables of later papers (26.5, taken as megabytes; 28.3 GFLOPs, for ICNet's own image size, taken as "
        "multiply-adds); "
        "the ICNet paper prints neither",
        results=(_cityscapes(1024, 2048, 37.7, 67.7, 69.5), _camvid(27.8, 67.1)),
    ),
    "bisenet-r18": Published(title="BiSeNet (ResNet-18)"),
    "bisenet-x39": Published(
        title="BiSeNet (Xception39)",
        parameters_m=1.45,
        source='tables of later papers: 5.8 "M", which is 4 bytes for each of 1.45 M parameters, as with ICNet\'s 26.5',
        # FasterSeg says only "BiSeNet"; 69.0 on val is what its authors print for Xception39 (ResNet-18: 74.8).
        results=(_cityscapes(768, 1536, 105.8, 69.0, 68.4), _camvid(269.1, 65.6)),
    ),
    "cas": Published(
        title="CAS",
        results=(_cityscapes(768, 1536, 108.0, 71.6, 70.5), _camvid(169.0, 71.2)),
    ),
    "fast-scnn": Published(
        title="Fast-SCNN",
        parameters_m=1.11,
        source="Poudel et al., 2019: 1.11 M parameters",
        results=(_cityscapes(1024, 2048, 123.5, 68.6, 68.0),),
    ),
    "df1-seg-d8": Published(
        title="DF1-Seg-d8",
        results=(_cityscapes(1024, 2048, 136.9, 72.4, 71.4),),
    ),
    "drn-d-22": Published(
        title="DRN-D-22",
        parameters_m=16.4,
        source="repository fyu/drn: 16.4 M, with the ImageNet classifier of 1000 classes",
        results=(_bdd(21.0, 53.2),),
    ),
    "drn-d-38": Published(
        title="DRN-D-38",
        parameters_m=26.5,
        source="repository fyu/drn: 26.5 M, with the ImageNet classifier of 1000 classes",
        results=(_bdd(12.9, 55.2),),
    ),
    "fasterseg": Published(
        title="FasterSeg",
        parameters_m=4.4,
        gmacs=28.2,
        image=(1024, 2048),
        source="Chen et al., 2020, Table 3: 4.4 M parameters, 28.2 GFLOPs: multiply-adds, by the layers of its Table 7",
        results=(_cityscapes(1024, 2048, 163.9, 73.1, 71.5), _camvid(398.1, 71.1), _bdd(318.0, 55.1)),
    ),
}
"""By name. CAS (Zhang et al., 2019) is here with figures only: its paper does not determine the searched cell.

FasterSeg's tables say which data set and split each mIoU is of: Table 4 has both of Cityscapes, Table 5 CamVid's test
set, Table 6 BDD's validation set.
"""

DF1_BACKBONE_GMACS = 0.746
"""DF1 with its ImageNet classifier at 224×224 (repository lixincn2015/Partial-Order-Pruning: 746 M)."""
