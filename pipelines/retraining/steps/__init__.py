"""One module a pipeline step; each step is a plain function of paths and values, without kfp."""
