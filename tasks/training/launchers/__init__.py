"""How a training is started: in this process, by torchrun on this host, by Ray on several."""
