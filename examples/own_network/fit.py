"""Train the network and write weights.safetensors: python examples/own_network/fit.py."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

sys.path.insert(0, str(Path(__file__).parents[1]))
from own_network.data import digit_images
from own_network.model import residual_network

EPOCHS, BATCH = 30, 64

if __name__ == "__main__":
    torch.manual_seed(0)
    model = residual_network()
    splits = digit_images()
    inputs, targets = splits["train"].tensors
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(model(inputs[rows]), targets[rows]).backward()
            optimizer.step()
    model.eval()
    test_inputs, test_targets = splits["test"].tensors
    with torch.inference_mode():
        accuracy = (model(test_inputs).argmax(1) == test_targets).float().mean()
    print(f"test accuracy {accuracy:.3f}")
    save_file(model.state_dict(), Path(__file__).with_name("weights.safetensors"))
