"""What GPUs can do at most, by their makers' data sheets."""

import torch

# Dense products (no sparsity) with fp32 sums, operations a second. fp32 is without TF32, as PyTorch multiplies unless
# it is told otherwise.
PEAKS = {
    "NVIDIA H200": {"bf16": 989.4e12, "fp16": 989.4e12, "fp32": 66.9e12},
    "NVIDIA H100 80GB HBM3": {"bf16": 989.4e12, "fp16": 989.4e12, "fp32": 66.9e12},
    "NVIDIA H100 PCIe": {"bf16": 756.5e12, "fp16": 756.5e12, "fp32": 51.2e12},
    "NVIDIA A100-SXM4-80GB": {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12},
    "NVIDIA A100-SXM4-40GB": {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12},
    "NVIDIA A100 80GB PCIe": {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12},
    "NVIDIA A100-PCIE-40GB": {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12},
    "NVIDIA L4": {"bf16": 121e12, "fp16": 121e12, "fp32": 30.3e12},
    "Tesla T4": {"fp16": 65e12, "fp32": 8.1e12},
    "NVIDIA GeForce RTX 4090": {"bf16": 165.2e12, "fp16": 165.2e12, "fp32": 82.6e12},
}


def peak_of(device: torch.device, precision: str = "bf16") -> float | None:
    """Operations a second in a precision; None where they are not known."""
    if device.type != "cuda":
        return None
    return PEAKS.get(torch.cuda.get_device_name(device), {}).get(precision)
