"""METHODS by their names in the literature."""

METHOD_NAMES = {
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "gradcampp": "Grad-CAM++",
    "layercam": "LayerCAM",
    "ablationcam": "Ablation-CAM",
    "integrated_gradients": "Integrated gradients",
    "gradient_shap": "Gradient SHAP",
    "occlusion": "Occlusion",
    "region_ablation": "Region ablation",
    "region_shapley": "Region Shapley values",
    "eigencam": "Eigen-CAM",
    "attention": "Attention of the non-local block",
}
