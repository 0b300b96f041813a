"""What classes are called: ImageNet's WordNet ids and their names."""

import re
from collections import Counter
from collections.abc import Sequence

WORDNET_ID = re.compile(r"n\d{8}")


def imagenet_ids() -> list[str]:
    """The 1000 ids of ImageNet's classification task, in the order of published classifiers."""
    from timm.data import ImageNetInfo  # seconds, and only for ImageNet

    return list(ImageNetInfo("imagenet-1k").label_names())


def names_of(ids: Sequence[str]) -> list[str]:
    """ImageNet's names for WordNet ids (`n01440764` is `tench`), each id itself where it is none.

    Classes of one name, as ImageNet's two cranes, have their id with it.
    """
    if not any(WORDNET_ID.fullmatch(i) for i in ids):
        return list(ids)
    from timm.data import ImageNetInfo

    known = ImageNetInfo("imagenet-21k-goog")  # holds the 1000 classes too
    listed = set(known.label_names())
    names = [known.label_name_to_description(i).split(",")[0] if i in listed else i for i in ids]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} ({i})" for name, i in zip(names, ids, strict=True)]
