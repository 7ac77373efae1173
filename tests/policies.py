"""Policies that between them have every value of every rule."""

from meanet_jax.routing.policies import Policy

POLICIES = {
  "paper": Policy(),
  "paper_imagenet": Policy(edge_rule="most_confident"),
  "abstract": Policy("probability", "extension", "late"),
  "margin": Policy("argmax", "extension", "late", "margin"),
  "gated": Policy("argmax_uncertain", "fused", "late", "max_prob"),
  "uncertain": Policy("uncertain", "fused", "early", "margin"),
  "fused_cloud": Policy("argmax", "fused", "late", "max_prob", "fused"),
  "learned": Policy("argmax", "extension", "late", "learned"),
  "learned_fused": Policy("argmax_uncertain", "fused", "late", "learned", "fused"),
  "never": Policy(offload="never"),
  "always": Policy(offload="always"),
  "no_extension": Policy("never", "extension", "late"),
}
