"""Linear-chain CRFs in torch alone: usable without AllenNLP."""

from structkd_plugin.crf.constraints import ChainConstraints, chain_constraints
from structkd_plugin.crf.layer import LinearChainCRFLayer
from structkd_plugin.crf.linear_chain import LinearChainCRF

__all__ = ["ChainConstraints", "LinearChainCRF", "LinearChainCRFLayer", "chain_constraints"]
