import pytest
import torch
import torch.nn.functional as F

from maskmtl.networks import MaskMTL, NonLocalBlock, count_values
from maskmtl.tasks import TASKS


def test_the_counts_of_figure_1():
    model = MaskMTL(TASKS, nonlocal_block=False)
    assert count_values(model.encoder) == 279_680  # the paper's "0.3M parameters in our convolutional encoder"
    assert count_values(model) == 11_740_871
    assert count_values(model.sharing.heads["age"]) == 6912 * 896 + 896 + 896 * 896 + 896 + 896 + 1
    assert count_values(model.sharing.heads["gender"]) == 2016 * 896 + 896 + 896 * 896 + 896 + 896 + 1
    assert count_values(model.sharing.heads["ethnicity"]) == 224 * 896 + 896 + 896 * 896 + 896 + 5 * 896 + 5


def test_the_count_of_the_nonlocal_block():
    # three embeddings to 96 channels, one back to 192, and a batch norm with its statistics
    assert count_values(NonLocalBlock(192)) == 3 * (192 * 96 + 96) + (96 * 192 + 192) + 4 * 192 == 74_976
    assert count_values(MaskMTL(TASKS)) == 11_740_871 + 74_976


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("encoder", "sharing", "size", "conv"),
    [
        ("fig1", "hard", 48, (192, 24, 24)),
        ("fig1", "soft", 48, (192, 24, 24)),
        ("fig1", "hierarchical", 48, (192, 24, 24)),
        ("conv3", "hard", 48, (144, 12, 12)),
        ("conv3", "hierarchical", 48, (144, 12, 12)),
        ("compact", "hard", 48, (128, 12, 12)),
        ("compact", "soft", 48, (128, 12, 12)),
        ("compact", "hierarchical", 48, (128, 12, 12)),
        ("resnet18", "hard", 224, (512, 7, 7)),
        ("resnet18", "hard", 64, (512, 2, 2)),
        ("resnet18", "soft", 64, (512, 2, 2)),
    ],
)
def test_shapes(encoder, sharing, size, conv, channels):
    model = MaskMTL(TASKS, encoder=encoder, sharing=sharing, channels=channels, size=size).eval()
    sizes = {}
    for task in TASKS:
        model.map_layer(task).register_forward_hook(lambda *a, task=task: sizes.update({task: tuple(a[2].shape)}))
    outputs = model(torch.rand(2, channels, size, size))
    assert sizes == {task: (2, *conv) for task in TASKS}
    assert {name: tuple(out.shape) for name, out in outputs.items()} == {
        "age": (2, 1),
        "gender": (2, 1),
        "ethnicity": (2, 5),
    }


def test_the_compact_encoder_keeps_within_the_papers_size():
    assert count_values(MaskMTL(TASKS, encoder="conv3", channels=3).encoder) == 280_912
    model = MaskMTL(TASKS, encoder="compact", channels=3)
    assert sum(p.numel() for p in model.encoder.parameters()) == 270_248 < 300_000
    model.eval()
    x = torch.rand(1, 3, 48, 48)
    model(x)["age"].sum().backward()
    assert all(p.grad is None for p in model.sharing.blocks.parameters())  # age reads the encoder only


def test_a_network_is_rebuilt_from_its_configuration():
    model = MaskMTL(TASKS, encoder="resnet18", sharing="soft", channels=3, size=64, nonlocal_block=False)
    again = MaskMTL(TASKS, **model.config)
    again.load_state_dict(model.state_dict())
    x = torch.rand(1, 3, 64, 64)
    for task, output in again.eval()(x).items():
        torch.testing.assert_close(output, model.eval()(x)[task])


@pytest.mark.parametrize("sharing", ["hierarchical", "soft"])
def test_a_mirrored_answer_is_the_mean_of_both(sharing):
    model = MaskMTL(TASKS, sharing=sharing, encoder="compact", mirror=True).eval()
    x = torch.rand(3, 1, 48, 48)
    plain = MaskMTL(TASKS, **{**model.config, "mirror": False}).eval()
    plain.load_state_dict(model.state_dict())
    for task, output in model(x).items():
        torch.testing.assert_close(output, (plain(x)[task] + plain(x.flip(3))[task]) / 2)
    model.train()
    assert model(x)["age"].shape == (3, 1)  # training sees each picture once


def test_soft_sharing_ties_the_convolutions_of_all_pairs_of_tasks():
    model = MaskMTL(TASKS, sharing="soft", nonlocal_block=False)
    assert model.tie() > 0
    tied = [[m for m in tower.modules() if isinstance(m, torch.nn.Conv2d)] for tower in model.towers.values()]
    for a, b, c in zip(*tied, strict=True):
        for conv in (a, b, c):
            torch.nn.init.zeros_(conv.weight)
    assert model.tie() == 0
    tied[0][0].weight.data.view(-1)[:2] = torch.tensor([3.0, 4.0])
    assert model.tie() == 50  # 25 from each of the two others
    assert MaskMTL(TASKS).tie() == 0
    model(torch.rand(1, 1, 48, 48))["age"].sum().backward()
    assert all(p.grad is None for p in model.towers["gender"].parameters())


def test_pooling_before_the_activation_changes_nothing():
    model = MaskMTL(TASKS).eval()
    encoder, x = model.encoder, torch.rand(2, 1, 48, 48)
    plain = F.max_pool2d(F.leaky_relu(encoder.norm1(encoder.conv1(x)), 0.3), 2)
    plain = F.avg_pool2d(F.leaky_relu(encoder.norm2(encoder.conv2(plain)), 0.3), 4)
    torch.testing.assert_close(encoder(x), plain)


def test_each_task_joins_at_its_depth():
    model = MaskMTL(TASKS).eval()
    x = torch.rand(1, 1, 48, 48)
    model(x)["gender"].sum().backward()
    assert model.sharing.blocks[0].conv.weight.grad is not None
    assert model.sharing.blocks[1].conv.weight.grad is None  # ethnicity's own convolution
    model.zero_grad()
    model(x)["age"].sum().backward()
    assert model.sharing.blocks[0].conv.weight.grad is None  # age reads the encoder only
    model(x)["ethnicity"].sum().backward()
    assert model.sharing.blocks[0].conv.weight.grad is not None  # ethnicity continues from gender


def test_nonlocal_block_starts_as_the_identity_and_attends_by_hand():
    torch.manual_seed(0)
    block = NonLocalBlock(4).eval()
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(block(x), x)

    block.norm.weight.data.fill_(1.0)
    block.requires_grad_(False)
    theta, phi, g = (m(x).flatten(2).transpose(1, 2) for m in (block.theta, block.phi, block.g))  # (B, 9, 2)
    expected = torch.zeros(2, 9, 2)
    for b in range(2):
        for i in range(9):
            weights = torch.tensor([float(theta[b, i] @ phi[b, j]) for j in range(9)]).exp()
            expected[b, i] = sum(weights[j] / weights.sum() * g[b, j] for j in range(9))
    y = block.norm(block.w(expected.transpose(1, 2).reshape(2, 2, 3, 3)))
    torch.testing.assert_close(block(x), x + y, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(block.attention(x).sum(-1), torch.ones(2, 9))


def test_wrong_input_and_configuration_are_refused():
    model = MaskMTL(TASKS)
    with pytest.raises(ValueError, match=r"images should be \(B, 1, 48, 48\), got \(1, 3, 48, 48\)"):
        model(torch.rand(1, 3, 48, 48))
    with pytest.raises(ValueError, match=r"sharing should be one of .* got 'telepathy'"):
        MaskMTL(TASKS, sharing="telepathy")
    with pytest.raises(ValueError, match=r"channels should be 1 \(grey\) or 3 \(RGB\), got 2"):
        MaskMTL(TASKS, channels=2)
    with pytest.raises(ValueError, match=r"encoder should be one of .*'resnet18'.*, got 'vgg'"):
        MaskMTL(TASKS, encoder="vgg")
    with pytest.raises(ValueError, match="size should be 48 for the paper's encoders, got 64"):
        MaskMTL(TASKS, size=64)
    with pytest.raises(ValueError, match="size should be a multiple of 32 for a ResNet-18, got 48"):
        MaskMTL(TASKS, encoder="resnet18", sharing="hard", size=48)
    with pytest.raises(ValueError, match="sharing should be hard or soft for a ResNet-18"):
        MaskMTL(TASKS, encoder="resnet18", size=64)
    with pytest.raises(ValueError, match="for hierarchical sharing"):
        MaskMTL({"glasses": TASKS["gender"]})
