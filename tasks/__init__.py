"""One verb a file: thin Prefect tasks over the plain libraries in the folders beside them."""
