"""Methods that scvi-tools' base class has and this model does not offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


def not_offered(name: str, instead: str) -> Callable[..., NoReturn]:
    """A method that raises a NotImplementedError with what to do instead.

    Parameters
    ----------
    name
        Name of the method.
    instead
        Reason and alternative, as the end of a sentence.
    """
    sentence = f"CoupledAE does not offer {name}: {instead}."

    def method(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(sentence)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = sentence
    return method


class NotOffered:
    """Inherited methods that would fail inside scvi-tools say so in one sentence."""

    convert_legacy_save = not_offered(
        "convert_legacy_save", "its models were never saved in scvi-tools' old format"
    )
    data_registry = not_offered(
        "data_registry",
        "cells may lack a modality, so read mdata.mod[...], or model.align() for aligned values",
    )
    differential_abundance = not_offered(
        "differential_abundance", "embed cells with write_latent and compare neighbourhoods of groups there"
    )
    get_from_registry = not_offered(
        "get_from_registry",
        "cells may lack a modality, so read mdata.mod[...], or model.align() for aligned values",
    )
    get_normalized_expression = not_offered(
        "get_normalized_expression", "predict(source, target) predicts expected values of any modality"
    )
    minify_adata = not_offered(
        "minify_adata", "save the model, and load it without data: load(folder, adata=False)"
    )
    minify_mudata = not_offered(
        "minify_mudata", "save the model, and load it without data: load(folder, adata=False)"
    )
    transfer_fields = not_offered(
        "transfer_fields",
        "methods accept other data as they are; prepare_query_mudata matches their features",
    )
    update_setup_method_args = not_offered(
        "update_setup_method_args", "call setup_mudata again and make a new model"
    )
