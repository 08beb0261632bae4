"""How the weights of resnet-us come about."""
