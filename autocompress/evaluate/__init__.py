"""autocompress.evaluate"""
