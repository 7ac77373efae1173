from meanet_jax.routing.policies import PRESETS, Policy


def test_presets_are_the_papers():
  assert PRESETS["paper"] == Policy("argmax", "extension", "early", "entropy")
  assert PRESETS["paper_imagenet"] == Policy("argmax", "most_confident", "early", "entropy")
  assert PRESETS["abstract"] == Policy("probability", "extension", "late", "entropy")


def test_the_presets_beyond_the_paper():
  assert PRESETS["late"] == Policy("argmax", "extension", "late", "max_prob", "replace")
  assert PRESETS["gated"] == Policy("argmax_uncertain", "fused", "late", "max_prob", "replace")
