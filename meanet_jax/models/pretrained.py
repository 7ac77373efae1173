"""What training starts from: pretrained weights where configured, fresh ones elsewhere."""

import jax

from meanet_jax.config.networks import NetworkConfig
from meanet_jax.config.schema import Config
from meanet_jax.models.meanet import MEANet
from meanet_jax.models.torch_files import read_state_dict
from meanet_jax.models.torch_weights import load_pretrained
from meanet_jax.models.variables import Initialise, Variables, abstract_variables, make_init
from meanet_jax.paths import expanded_path


def initial_variables(
  config: Config,
  model: MEANet,
  blocks: tuple[str, ...],
  fresh_variables: Initialise | None = None,
) -> Variables:
  """Variables of some blocks before any stage has trained them.

  Args:
    config, model: the experiment.
    blocks: of the model.
    fresh_variables: the model's `make_init`, where several seeds share one.

  Raises:
    UserError: pretrained weights that are not this network's, or no path of a file.
  """
  shape = config.dataset.image_shape
  given = _pretrained(config)
  fresh = tuple(block for block in blocks if block not in given or given[block].reset_head)
  variables = jax.device_get((fresh_variables or make_init(model, shape))(config.seed, fresh))
  abstract = abstract_variables(model, shape)
  for block in blocks:
    if block in given:
      path = expanded_path(given[block].pretrained, f"model.{block}.pretrained")
      head = variables[block]["params"]["head"]["dense"] if block in fresh else None
      structure = getattr(model, block).structure
      variables[block] = load_pretrained(
        read_state_dict(path), structure, abstract[block], path, head
      )
  return variables


def check_pretrained(config: Config, model: MEANet) -> None:
  """Refuses pretrained weights that `initial_variables` would refuse."""
  initial_variables(config, model, tuple(_pretrained(config)))


def _pretrained(config: Config) -> dict[str, NetworkConfig]:
  networks = {"main": config.model.main, "cloud": config.model.cloud}
  return {name: network for name, network in networks.items() if network.pretrained}
