"""autocompress.graph"""
