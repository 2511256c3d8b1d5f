"""Well-known spellings from elsewhere, and what is written here instead.

Exact names only: a slip of the pen is answered by the closest name. Each entry is one line of help.
"""

from __future__ import annotations

from collections.abc import Mapping

_MEAN = "write `mean(x, masked)`: it divides by the pixels of the region, and an empty one gives 0"
_L1 = "write `l1(masked)`, `l1(a, b)` or `l1(a, b, masked)`"
_L2 = "write `l2(masked)`, `l2(a, b)` or `l2(a, b, masked)`"
_SSIM_LOSS = "write `ssim_loss(masked)`: it is 1 - ssim, without a half"
_FUSED = "write `ssim_loss(masked)` or `ssim(...)`: its value is the same on every backend"
_LAYOUT = "leave it out: values know which of their dimensions are pixels and which are components, so nothing is moved"
_SIZE_ONE = "leave it out: there are no dimensions of size 1 to drop or to add, and any number of views works"
_JOIN = "values are not joined: write the loss of each, and add them"
_ALPHA_OVER = (
    "the render is on `background` already; put the target there as well: `mix(background, target, target_alpha)`, "
    "with `input target_alpha: map[coverage] in [0, 1]`"
)
_BACKGROUND = (
    "a random background is the renderer's: the render is on `background` already; put the target there as well: "
    "`mix(background, target, target_alpha)`, with `input target_alpha: map[coverage] in [0, 1]`"
)
_RANDOM = "write `bernoulli(p, like=x)` for a random region, or declare an `input` that the host draws"
_SAFE_DIV = "write `a / max(b, 1e-6)`; for a mean over a region `mean(x, r)`, which gives 0 where it is empty"
_TORCH = "functions have no prefix here: `mean(x)`, `abs(x)`, `l1(a, b)`"
_PEARSON = "write `pearson_loss(a, b, masked)`: it is 1 - the correlation"
_COSINE = "write `dot(a, b)` of unit vectors, or `normal_cosine(a, b)`, which is 1 - the cosine"
_DETACH = "write `detach(x)`"
_RESIZE = 'write `resize(x, scale=0.5, mode="area")` or `resize(x, like=y)`'
_CURVE = "write the curve as a `def`, or let the data be in the other encoding"

FUNCTIONS: Mapping[str, str] = {
    "masked_mean": _MEAN,
    "mean_masked": _MEAN,
    "nanmean": _MEAN,
    "masked_sum": "write `sum(x, masked)`",
    "masked_l1": _L1,
    "l1_loss": _L1,
    "L1Loss": _L1,
    "mae": _L1,
    "mae_loss": _L1,
    "l2_loss": _L2,
    "mse": _L2,
    "mse_loss": _L2,
    "MSELoss": _L2,
    "rmse": "write `sqrt(l2(masked) + 1e-12)`",
    "huber_loss": "write `huber(masked, delta=0.1)`",
    "smooth_l1": "write `huber(masked, delta=d) / d`",
    "smooth_l1_loss": "write `huber(masked, delta=d) / d`",
    "dssim": _SSIM_LOSS,
    "d_ssim": _SSIM_LOSS,
    "DSSIM": _SSIM_LOSS,
    "SSIM": _SSIM_LOSS,
    "dssim_loss": _SSIM_LOSS,
    "fused_ssim": _FUSED,
    "fast_ssim": _FUSED,
    "msssim": "write `1 - ms_ssim(masked)`",
    "ms_ssim_loss": "write `1 - ms_ssim(masked)`",
    "lpips_loss": 'write `lpips(masked, net="vgg")`',
    "perceptual_loss": 'write `lpips(masked, net="vgg")`',
    "psnr_loss": "write `-psnr(masked)` with a small weight, or `l2(masked)`",
    "tv_loss": "write `tv(x)`, or `tv(x, power=2)`",
    "total_variation": "write `tv(x)`, or `tv(x, power=2)`",
    "tvloss": "write `tv(x)`, or `tv(x, power=2)`",
    "squeeze": _SIZE_ONE,
    "unsqueeze": _SIZE_ONE,
    "expand_dims": _SIZE_ONE,
    "permute": _LAYOUT,
    "transpose": _LAYOUT,
    "swapaxes": _LAYOUT,
    "moveaxis": _LAYOUT,
    "rearrange": _LAYOUT,
    "einsum": "write `dot(a, b)`, `component_sum(a * b)` or a product",
    "view": _LAYOUT,
    "reshape": _LAYOUT,
    "contiguous": _LAYOUT,
    "expand": "leave it out: a map goes with every component of an image, and a number with anything",
    "repeat": "leave it out: a map goes with every component of an image, and a number with anything",
    "stack": _JOIN,
    "cat": _JOIN,
    "concat": _JOIN,
    "clip": "write `clamp(x, lo, hi)`",
    "clamp_min": "write `max(x, lo)`",
    "clamp_max": "write `min(x, hi)`",
    "pow": "write `x ^ y`",
    "power": "write `x ^ y`",
    "square": "write `sq(x)`",
    "rsqrt": "write `1 / sqrt(x)`",
    "reciprocal": "write `1 / max(x, 1e-3)`",
    "fabs": "write `abs(x)`",
    "maximum": "write `max(a, b)`; over pixels or gaussians `max_over(x, r)`",
    "minimum": "write `min(a, b)`; over pixels or gaussians `min_over(x, r)`",
    "amax": "write `max_over(x, r)` over pixels or gaussians, or `component_max(x)`",
    "amin": "write `min_over(x, r)` over pixels or gaussians, or `component_min(x)`",
    "prod": "write `component_product(x)`",
    "softplus": "write `log1p(exp(x))`",
    "logsigmoid": "write `-log1p(exp(-x))`",
    "random_bg": _BACKGROUND,
    "random_background": _BACKGROUND,
    "rand": _RANDOM,
    "randn": _RANDOM,
    "rand_like": _RANDOM,
    "randn_like": _RANDOM,
    "random": _RANDOM,
    "composite": _ALPHA_OVER,
    "alpha_blend": _ALPHA_OVER,
    "alpha_composite": _ALPHA_OVER,
    "blend": "write `mix(a, b, w)`: (1 - w)*a + w*b",
    "lerp": "write `mix(a, b, w)`: (1 - w)*a + w*b",
    "safe_div": _SAFE_DIV,
    "safe_divide": _SAFE_DIV,
    "div": "write `a / b`",
    "mul": "write `a * b`",
    "add": "write `a + b`",
    "sub": "write `a - b`",
    "neg": "write `-x`",
    "not_": "write `not r`",
    "invert": "write `not r`",
    "logical_not": "write `not r`",
    "logical_and": "write `a and b`",
    "logical_or": "write `a or b`",
    "stop_gradient": _DETACH,
    "stop_grad": _DETACH,
    "no_grad": _DETACH,
    "requires_grad": "what carries gradient is known: `detach(x)` stops it",
    "isfinite": "write `finite(x)`",
    "isnan": "write `not finite(x)`",
    "nan_to_num": "write `finite_or(x, 0)`",
    "masked_fill": "write `where(r, a, b)`",
    "masked_select": "write the region as the last argument, as in `mean(x, r)`",
    "interpolate": _RESIZE,
    "downsample": _RESIZE,
    "upsample": _RESIZE,
    "avg_pool2d": 'write `box(x, px)`, or `resize(x, scale=0.5, mode="area")`',
    "max_pool2d": 'write `pool(x, px, mode="max")`; of a region `dilate(r, px)`',
    "gaussian_blur": "write `blur(x, sigma)`",
    "grid_sample": "write `sample_at(x, points)`, with points in pixels",
    "gradient": "write `dx(x)` and `dy(x)`",
    "rgb_to_gray": "write `gray(x)`",
    "luminance": "write `gray(x)`",
    "srgb_to_linear": _CURVE,
    "linear_to_srgb": _CURVE,
    "to_linear": _CURVE,
    "to_srgb": _CURVE,
    "bce_loss": "write `bce(a, b, r)`",
    "binary_cross_entropy": "write `bce(a, b, r)`",
    "bce_with_logits": "write `bce(sigmoid(x), b, r)`",
    "binary_cross_entropy_with_logits": "write `bce(sigmoid(x), b, r)`",
    "nll_loss": "write `cross_entropy(scores, labels, r)`",
    "pearson": _PEARSON,
    "pearsonr": _PEARSON,
    "pearson_corr": _PEARSON,
    "pearson_corrcoef": _PEARSON,
    "corrcoef": _PEARSON,
    "cosine_similarity": _COSINE,
    "cos_sim": _COSINE,
    "normal_loss": "write `normal_consistency(masked)` or `normal_cosine(a, b, r)`",
    "depth_loss": "write `depth_l1(a, b, r)`, `disparity_l1(a, b, r)` or `pearson_loss(a, b, r)`",
    "depth_to_normal": "write `depth_normals(d)`",
    "depth_to_normals": "write `depth_normals(d)`",
    "opacity_loss": "write `opacity_reg(state)`",
    "scale_loss": "write `scale_reg(state)`",
    "iso_loss": "write `mean(relu(anisotropy(state) - 10))`",
    "entropy_loss": "write `opacity_entropy(state)`, or `mean(binary_entropy(x), r)`",
    "total_loss": "leave it out: the loss is the sum of the terms",
    "warmup": "write `ramp(step, n)`",
    "linear_warmup": "write `ramp(step, n)`",
    "cosine_decay": "write `cosine(step, v0, v1, over=n)`",
    "cosine_annealing": "write `cosine(step, v0, v1, over=n)`",
    "exponential_decay": "write `expdecay(step, rate)` or `loglinear(step, v0, v1, over=n)`",
    "expon_lr": "write `loglinear(step, v0, v1, over=n)`",
    "exp_decay": "write `expdecay(step, rate)` or `loglinear(step, v0, v1, over=n)`",
    "float": "leave it out: a region is a map of 0 and 1 in arithmetic, and a flag is 0 or 1",
    "int": "write `floor(x)`",
    "bool": "compare it, as in `x > 0`",
    "numel": "write `mean(x)` rather than a sum over a size; `H`, `W`, `B` and `N` are sizes",
    "size": "`H`, `W`, `B` and `N` are sizes",
    "item": "leave it out: a mean is a number",
}
"""Functions."""

_RENDERED = "the rendered image is `rendered`"
_TARGET = "the photograph is `target`"
_STEP = "the training step is `step`, counted from 0; `progress` is the part of the run that is over"
_MAX_STEPS = "the length of the run is `max_steps`"
_COVER = "the render's opacity in each pixel is `alpha`"
_OPACITY = "the opacities of the gaussians are `state.opacities`; the render's in each pixel is `alpha`"
_RESIDUAL_BACKGROUND = "the colour that the render is on is `background`"

VALUES: Mapping[str, str] = {
    "render": _RENDERED,
    "renders": _RENDERED,
    "rendering": _RENDERED,
    "image": _RENDERED + ", the photograph `target`",
    "img": _RENDERED + ", the photograph `target`",
    "rgb": _RENDERED + ", the photograph `target`",
    "colors": _RENDERED + ", the photograph `target`",
    "pred": _RENDERED,
    "prediction": _RENDERED,
    "output": _RENDERED,
    "outputs": _RENDERED,
    "gt": _TARGET,
    "gt_image": _TARGET,
    "gt_img": _TARGET,
    "gt_rgb": _TARGET,
    "ground_truth": _TARGET,
    "groundtruth": _TARGET,
    "reference": _TARGET,
    "pixels": _TARGET,
    "batch": "the photograph is `target`, its mask `mask`; further fields are declared: `input mono: depth[relative]`",
    "opacity": _OPACITY,
    "opacities": _OPACITY,
    "alphas": _COVER,
    "acc": _COVER,
    "accumulation": _COVER,
    "silhouette": _COVER + "; one from the data is declared: `input silhouette: map in [0, 1]`",
    "gt_alpha": "declare it: `input target_alpha: map[coverage] in [0, 1]?`",
    "valid_mask": "the item's mask is `mask`; as a region write `masked`",
    "masks": "the item's mask is `mask`; as a region write `masked`",
    "bg": _RESIDUAL_BACKGROUND,
    "bg_color": _RESIDUAL_BACKGROUND,
    "bg_colour": _RESIDUAL_BACKGROUND,
    "background_color": _RESIDUAL_BACKGROUND,
    "white": "a colour is a number for all components, such as 1, or `background`, which the render is on",
    "iteration": _STEP,
    "iterations": _MAX_STEPS,
    "iter": _STEP,
    "it": _STEP,
    "t": _STEP,
    "i": _STEP,
    "global_step": _STEP,
    "train_step": _STEP,
    "epoch": _STEP,
    "max_iterations": _MAX_STEPS,
    "num_iterations": _MAX_STEPS,
    "n_iterations": _MAX_STEPS,
    "max_iter": _MAX_STEPS,
    "total_steps": _MAX_STEPS,
    "num_steps": _MAX_STEPS,
    "normal": "the render's normals are `normals`, those of its depth `normals_from_depth`",
    "surf_normal": "the normals of the rendered depth are `normals_from_depth`",
    "surf_normals": "the normals of the rendered depth are `normals_from_depth`",
    "disparity": "the rendered disparity is `depth.inverse`",
    "inv_depth": "the rendered disparity is `depth.inverse`",
    "depths": "the rendered depth is `depth`",
    "gt_depth": "declare it: `input lidar: depth[metric, sparse]` or `input mono: depth[inverse, relative]`",
    "dist": "the distortion map is `distortion`",
    "xyz": "the centres of the gaussians are `state.means`",
    "positions": "the centres of the gaussians are `state.means`",
    "scaling": "the scales of the gaussians are `state.scales`",
    "rotations": "the rotations of the gaussians are `state.quats`",
    "gaussians": "the gaussians are the `state`, with the fields `means scales opacities quats sh0 shN`",
    "splats": "the gaussians are the `state`, with the fields `means scales opacities quats sh0 shN`",
    "model": "the gaussians are the `state`, with the fields `means scales opacities quats sh0 shN`",
    "params": "parameters are declared, as in `param weight = 0.2`, and read by their names",
    "visibility_filter": "the gaussians that are drawn are `visible`",
    "torch": _TORCH,
    "F": _TORCH,
    "np": _TORCH,
    "jnp": _TORCH,
    "math": _TORCH,
    "nn": _TORCH,
    "True": "write `true`",
    "False": "write `false`",
    "None": "leave the argument out",
    "nan": "there is no NaN to compare with: write `finite(x)` for where a value is a number",
}
"""Values."""

_REGION = "the region is the last operand, as in `l1(masked)`, `ssim(a, b, masked)` or `mean(x, masked)`"
_RANGE = "leave it out: images are in 0..1 here, and that is what it is computed for"
_REDUCTION = "leave it out: `mean(...)` and `sum(...)` say how a map is reduced, and the losses are means"
_DIM = (
    "`mean` and `sum` run over pixels and components; over the components alone write `component_mean(x)` or "
    "`component_sum(x)`"
)
_KEEPDIM = "leave it out: dimensions are known by name, and nothing has to be kept for broadcasting"
_WEIGHT = "multiply the result by the weight"
_WINDOW = "leave it out: the window is 11 pixels wide with a sigma of 1.5, everywhere"

ARGUMENTS: Mapping[str, str] = {
    "data_range": _RANGE,
    "val_range": _RANGE,
    "max_val": _RANGE,
    "normalize": "leave it out: images in 0..1 are converted to what the network expects",
    "mask": _REGION,
    "masks": _REGION,
    "masked": _REGION,
    "region": _REGION,
    "where": _REGION,
    "weights": "multiply the map by the weights, as in `mean(w * x, masked)`",
    "weight": _WEIGHT,
    "lambda": _WEIGHT,
    "reduction": _REDUCTION,
    "reduce": _REDUCTION,
    "size_average": _REDUCTION,
    "dim": _DIM,
    "dims": _DIM,
    "axis": _DIM,
    "keepdim": _KEEPDIM,
    "keepdims": _KEEPDIM,
    "lambda_dssim": "the share of SSIM is `ssim_weight=`",
    "window_size": _WINDOW,
    "win_size": _WINDOW,
    "kernel_size": _WINDOW,
    "win_sigma": _WINDOW,
    "channel": _WINDOW,
    "net_type": 'write `net="alex"` or `net="vgg"`',
    "backend": "leave it out: every backend gives the same value",
    "beta": "write `huber(a, b, r, delta=d) / d` for a smooth L1",
}
"""Arguments of the language's own functions."""

_COLOURS = "an image is its colours already: leave `.{name}` out, or read one component, as in `.r`"
_DATA = "further fields of the item are declared, as in `input target_alpha: map[coverage] in [0, 1]`"
_RAYS = "there are no rays here: losses with windows need whole images, `rendered` and `target`"

FIELDS: Mapping[str, str] = {
    "rgb": _COLOURS,
    "color": _COLOURS,
    "colors": _COLOURS,
    "image": _COLOURS,
    "img": _COLOURS,
    "rays": _RAYS,
    "alpha": "coverage of the render is `alpha`; " + _DATA,
    "a": "coverage of the render is `alpha`; " + _DATA,
    "mask": "the item's mask is `mask`, or `masked` as a region",
    "depth": "the rendered depth is `depth`; " + _DATA,
    "T": _LAYOUT,
    "shape": "`H`, `W`, `B` and `N` are sizes",
}
"""Fields and components."""

STATE_FIELDS: Mapping[str, str] = {
    "xyz": "the centres are `state.means`",
    "get_xyz": "the centres are `state.means`",
    "positions": "the centres are `state.means`",
    "scaling": "scales are `state.scales`, their logarithms `state.log_scales`",
    "get_scaling": "scales are `state.scales`, their logarithms `state.log_scales`",
    "get_opacity": "opacities in 0..1 are `state.opacities`, raw ones `state.opacity_logits`",
    "logits": "opacities in 0..1 are `state.opacities`, raw ones `state.opacity_logits`",
    "rotation": "rotations are `state.quats`, wxyz",
    "rotations": "rotations are `state.quats`, wxyz",
    "get_rotation": "rotations are `state.quats`, wxyz",
    "features_dc": "base colours are `state.sh0`",
    "features_rest": "the higher SH coefficients are `state.shN`",
    "features": "SH coefficients are `state.sh0` and `state.shN`",
    "colors": "base colours are `state.sh0`, higher SH coefficients `state.shN`",
    "sh": "SH coefficients are `state.sh0` and `state.shN`",
    "max_radii2D": "radii on the screen are `radii`",
}
"""Fields of the gaussians."""


def function(name: str) -> str:
    """What to write in place of a function of another library, or ""."""
    return FUNCTIONS.get(name, "")


def value(name: str) -> str:
    """What a value of another trainer is called here, or ""."""
    return VALUES.get(name, "")


def argument(name: str, function: str) -> str:
    """What to write in place of an argument of another library, or ""; only for the language's own functions."""
    from .functions import library

    return ARGUMENTS.get(name, "") if library(function) is not None else ""


def unit(name: str) -> str:
    """What to write in place of a unit of parameters that is called otherwise here, or ""."""
    from .hints_kinds import UNITS

    return UNITS.get(name, "")


def kind(name: str) -> str:
    """What to write in place of a kind that is called otherwise here, or ""."""
    from .hints_kinds import KINDS

    return KINDS.get(name, "")


def fact(name: str, of: str) -> str:
    """What to write in place of a word in the brackets of a kind, or ""."""
    from .hints_kinds import FACTS

    return FACTS.get(of, {}).get(name, "")


def field(name: str, of: str) -> str:
    """What to write in place of a field of another trainer, or ""; ``of`` is what it was read from, in words."""
    text = STATE_FIELDS.get(name, "") if of == "`state`" else FIELDS.get(name, "") if "[" in of else ""
    return text.format(name=name)
