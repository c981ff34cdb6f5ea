"""autocompress.recipe"""
