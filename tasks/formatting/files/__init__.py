"""Files of rows, one format each: raw bytes to rows, whatever the file holds."""
