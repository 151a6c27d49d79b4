"""The page: ask a question, and watch the loop. Streamlit, over the facts in `mcqa.readmodels`; no state of its own."""
