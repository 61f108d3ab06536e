"""MiniLM written out is MiniLM: the same features as transformers' BERT, whatever else is in the batch."""

import pytest
import torch

from alignhmr.core.errors import CompatibilityError
from alignhmr.core.language.minilm import MiniLmNetwork
from alignhmr.core.perception.assets import fetch

TEXTS = ["the left elbow is straight", "kneeling", "A person, seen from behind, raises both arms overhead."]


@pytest.fixture(scope="module")
def network() -> MiniLmNetwork:
    return MiniLmNetwork(fetch("minilm"))


@pytest.mark.slow
def test_it_equals_transformers(network):
    from alignhmr.deployments import torchvision_shim

    torchvision_shim.install()
    from transformers import BertModel

    bert = BertModel.from_pretrained(str(fetch("minilm")), add_pooling_layer=False).eval()
    encoded = network._tokenizer.encode_batch(TEXTS)
    ids = torch.tensor([row.ids for row in encoded])
    there = torch.tensor([row.attention_mask for row in encoded])
    with torch.no_grad():
        theirs = bert(input_ids=ids, attention_mask=there).last_hidden_state
    ours = network.tokens(ids, there)
    torch.testing.assert_close(ours[there.bool()], theirs[there.bool()], atol=1e-5, rtol=1e-4)


def test_a_text_does_not_depend_on_its_batch(network):
    together = network.sentences(TEXTS)
    alone = torch.cat([network.sentences([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))


def test_likeness_is_likeness_of_meaning(network):
    texts = ["a cat sleeps on the sofa", "a kitten naps on the couch", "stock markets fell sharply"]
    cat, kitten, markets = network.sentences(texts)
    assert cat @ kitten > 0.6 > 0.3 > cat @ markets


def test_another_network_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CompatibilityError, match="holds no BERT"):
        MiniLmNetwork(tmp_path)
