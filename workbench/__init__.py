"""The workbench: pages over the models and analyses, run by `streamlit run workbench/app.py`."""
