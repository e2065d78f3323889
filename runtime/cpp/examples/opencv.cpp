// A question about part of a cv::Mat. No pixel is copied: the region is a view with the stride of the whole.
//
//     opencv IMAGE [PROMPT] [BUNDLE]
#include <iostream>
#include <opencv2/imgcodecs.hpp>
#include <ovrun.hpp>

int main(int argc, char** argv) try {
    if (argc < 2) {
        std::cerr << "usage: opencv IMAGE [PROMPT] [BUNDLE]\n";
        return OV_USAGE;
    }
    const cv::Mat image = cv::imread(argv[1], cv::IMREAD_COLOR);  // BGR
    if (image.empty()) throw ov::Error(OV_BAD_INPUT, "OpenCV can't read it", "give another file");
    const cv::Mat upper_half = image(cv::Rect(0, 0, image.cols, (image.rows + 1) / 2));

    auto session = ov::Session::open(argc > 3 ? argv[3] : "");
    const std::string prompt = argc > 2 ? argv[2] : "Describe this image.";
    for (const cv::Mat& picture : {image, upper_half}) {
        const auto result = session.generate(prompt, {ov::pixels(picture)});
        std::cout << picture.cols << " x " << picture.rows << ": " << result.text << "\n";
    }
    return OV_OK;
} catch (const ov::Error& error) {
    std::cerr << "error: " << error.what() << "\nhint: " << error.hint() << "\n";
    return error.code();
}
