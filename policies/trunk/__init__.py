"""One lean causal trunk for the language models of public VLAs, their loaders and vision towers."""
